/**
 * The session of every request a page makes, whoever makes it (htmx, our modules): it wraps
 * window.fetch, so it is loaded before anything that fetches.
 *
 * - Unsafe requests to our own origin get X-CSRF-Token from <meta name="csrf-token">.
 * - A 401, or an HX-Redirect on a fragment, means "signed out": the page goes to the sign-in page,
 *   which leads back here.
 */
const SAFE = new Set(["GET", "HEAD", "OPTIONS"]);

/** Headers with the token added, or null when this request needs none. */
export function withToken(method, sameOrigin, headers, token) {
  if (SAFE.has((method ?? "GET").toUpperCase()) || !sameOrigin) return null;
  const all = new Headers(headers);
  all.set("X-CSRF-Token", token);
  return all;
}

/** Where a signed-out page goes, or null when the answer does not say so. */
export function signInTarget(response, here) {
  const told = response.headers.get("HX-Redirect");
  if (told) return told;
  return response.status === 401 ? `/app/sign-in?next=${encodeURIComponent(here)}` : null;
}

export function wrap(fetch, { origin, token, here, go }) {
  return async (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : input, origin);
    const headers = withToken(init.method ?? input.method, url.origin === origin, init.headers ?? input.headers, token());
    const response = await fetch(input, headers ? { ...init, headers } : init);
    const target = url.origin === origin ? signInTarget(response, here()) : null;
    if (target) go(target);
    return response;
  };
}

if (typeof window !== "undefined") {
  window.fetch = wrap(window.fetch.bind(window), {
    origin: location.origin,
    token: () => document.querySelector('meta[name="csrf-token"]').content,
    here: () => location.pathname + location.search,
    go: (target) => location.assign(target),
  });
}
