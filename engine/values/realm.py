"""The JavaScript that turns a fresh isolate into one that can serve many calls safely.

Everything reachable from the global object is frozen, so no call can leave anything behind for
the next one. What cannot be frozen or limited is removed: typed arrays and WebAssembly (their
memory escapes the limit), timers, weak references, `Intl.Segmenter` (its hidden prototypes), and
the legacy `RegExp.$1` family (it keeps the last match). Members of Object, Function and Error
prototypes become accessors that define an own property when assigned: otherwise
`counts["constructor"] = 1` would fail on frozen ones.

`__run(kind, code, json)` answers text: "v" and JSON, or the reason why there is none:
"u" and the kind of a value that is not JSON, "e" and an error's text.
"""

REALM = r"""
(() => {
  "use strict";
  const global = globalThis;
  for (const name of ["setTimeout", "clearTimeout", "__timer_manager", "WebAssembly", "SharedArrayBuffer", "Atomics",
      "ArrayBuffer", "DataView", "Int8Array", "Uint8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array",
      "Int32Array", "Uint32Array", "Float16Array", "Float32Array", "Float64Array", "BigInt64Array", "BigUint64Array",
      "WeakRef", "FinalizationRegistry", "console"]) {
    if (!Reflect.deleteProperty(global, name)) global[name] = undefined;
  }
  delete Intl.Segmenter;
  for (const key of Reflect.ownKeys(RegExp)) {
    if (!["length", "name", "prototype", "escape", Symbol.species].includes(key)) delete RegExp[key];
  }

  const { stringify, parse } = JSON;
  const { freeze, getPrototypeOf } = Object;
  const evaluate = global.eval;
  const promise = Promise;

  const overridable = [
    Object, Function, Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError,
  ];
  for (const { prototype } of overridable) {
    for (const key of Reflect.ownKeys(prototype)) {
      const old = Object.getOwnPropertyDescriptor(prototype, key);
      if (!old.configurable || !("value" in old)) continue;
      const { value, enumerable } = old;
      Object.defineProperty(prototype, key, {
        enumerable, configurable: false,
        get() { return value; },
        set(replacement) {
          if (this === prototype) throw new TypeError(`${String(key)} cannot be replaced`);
          Object.defineProperty(this, key,
            { value: replacement, writable: true, enumerable: true, configurable: true });
        },
      });
    }
  }

  const seen = new Set();
  const hold = (value) => {
    if (value === null || (typeof value !== "object" && typeof value !== "function") || seen.has(value)) return;
    seen.add(value);
    freeze(value);
    hold(getPrototypeOf(value));
    for (const key of Reflect.ownKeys(value)) {
      const property = Object.getOwnPropertyDescriptor(value, key);
      hold(property.value);
      hold(property.get);
      hold(property.set);
    }
  };

  const callable = (source) => {
    const made = evaluate(`"use strict";(${source.trim().replace(/;+$/, "")}\n)`);
    if (typeof made !== "function") throw new TypeError("the source is not a function");
    return made;
  };
  const kinds = {
    helper: (code, { args, hash, sources }) => {
      const helpers = {};
      for (const name of Object.keys(sources)) {
        let made;
        helpers[name] = (...rest) => (made ??= callable(sources[name]))(...rest, { hash: {}, helpers });
      }
      return callable(code)(...args, { hash, helpers });
    },
    body: (code, { value, args }) =>
      new Function("value", "$value", "$data", "args", `"use strict";\n${code}`)(value, value, value, args),
    script: (code, { value, args }) =>
      new Function("value", "$value", "$data", "args", "$code", `"use strict"; return eval($code);`)(
        value, value, value, args, code),
  };
  const explain = (error) => {
    try {
      return error instanceof Error ? `${error.name}: ${error.message}` : `threw ${stringify(error)}`;
    } catch {
      return "threw something that cannot be shown";
    }
  };
  const run = (kind, code, json) => {
    try {
      const result = kinds[kind](code, parse(json));
      if (result instanceof promise) return "upromise";
      const text = stringify(result);
      return text === undefined ? `u${typeof result}` : `v${text}`;
    } catch (error) {
      return `e${explain(error)}`;
    }
  };
  Object.defineProperty(global, "__run", { value: run });

  const intrinsics = [
    function* () {}, async function () {}, async function* () {}, [][Symbol.iterator](), ""[Symbol.iterator](),
    new Map()[Symbol.iterator](), new Set()[Symbol.iterator](), "".matchAll(/a/g), (function* () {})(),
    __TimerManager, (async function* () {})(), Iterator.from({ next() {} }), [].values().map((x) => x),
  ];
  intrinsics.forEach(hold);
  hold(kinds);
  hold(global);
})();
"""
