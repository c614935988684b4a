"""ProcessE2EResults: files the outcome of a test run and mails a failed one."""

from __future__ import annotations

from typing import Any

import orjson

from engine.sdk import Component, Context, StepError

MAIL = "appmixer.utils.email.SendEmail"


class ProcessE2EResults(Component):
    def receive(self, context: Context) -> None:
        fields = context.messages["in"].content
        test_case, text = fields["testCase"], fields["result"]
        failed = _failures(text)
        store = "failedStoreId" if failed else "successStoreId"
        context.stores.set(context.properties[store], test_case, text)
        if failed:
            mail = {
                "to": fields["recipients"],
                "subject": f"Test failed: {test_case}",
                "text": f"{test_case} in flow {context.flow_name} ({context.flow_id}) failed.\n\n" + "\n".join(failed),
            }
            context.call_component(MAIL, "sent", messages={"in": mail})


def _failures(text: str) -> list[str]:
    """One line for each failed check, or for a run that timed out; entries of other steps do not count."""
    try:
        result = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise StepError("result must be JSON text: bind it to the whole output of AfterAll", retryable=False) from error
    if isinstance(result, dict) and "timedOutLinks" in result:
        return [f"timed out waiting for {', '.join(result['timedOutLinks'])}"]
    entries = result if isinstance(result, list) else [result]
    return [
        f"{entry.get('componentName') or entry['componentId']}: {error}"
        for entry in entries
        if isinstance(entry, dict) and entry.get("componentId")
        for error in _texts(entry.get("error"))
    ]


def _texts(errors: Any) -> list[str]:
    return [str(error) for error in (errors if isinstance(errors, list) else [errors] if errors else [])]
