"""The description of the API in OpenAPI 3.1, which the API itself returns."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from starlette.requests import Request

from emailrelay.config import version
from emailrelay.queue.action import Action
from emailrelay.queue.grouping import Grouping
from emailrelay.queue.state import State
from emailrelay_console.access.users import ConsoleUser
from emailrelay_console.api.changing import MOST_IDS
from emailrelay_console.api.endpoint import endpoint
from emailrelay_console.api.reading import MOST_ROWS
from emailrelay_console.mail.queue_index import Order
from emailrelay_console.web.access import API

_Schema = Mapping[str, Any]
_AGE: _Schema = {"type": "string", "pattern": "^$|^[0-9]{1,9}(\\.[0-9]{1,3})?[smhdw]$"}
_TEXT: _Schema = {"type": "string", "maxLength": 500}
_STRING: _Schema = {"type": "string"}
_NUMBER: _Schema = {"type": "number"}
_COUNT: _Schema = {"type": "integer", "minimum": 0}
_MAYBE: _Schema = {"type": ["number", "null"]}
_STATES = "|".join(State)
_FILTER: Mapping[str, tuple[_Schema, str]] = {
    "state": (
        {"type": "string", "pattern": f"^$|^({_STATES})(,({_STATES}))*$", "maxLength": 500},
        "States, with commas between.",
    ),
    "address": (_TEXT, "A part of the sender, or of a recipient."),
    "sender": (_TEXT, "A part of the sender; * and ? are wildcards, <> is the null sender."),
    "recipient": (_TEXT, "A part of a recipient; * and ? are wildcards."),
    "reply": (_TEXT, "Words of the last reply, or the text of its group."),
    "route": (_TEXT, "The name of a route that a pending recipient would take now."),
    "older": (_AGE, "Only messages that are older: 90s, 15m, 12h, 5d, 2w."),
    "newer": (_AGE, "Only messages that arrived within this time."),
}


def _object(required: Sequence[str] = (), /, **members: _Schema) -> _Schema:
    return {"type": "object", "properties": members, "required": list(required or members)}


def _list(items: _Schema) -> _Schema:
    return {"type": "array", "items": items}


def _map(values: _Schema) -> _Schema:
    return {"type": "object", "additionalProperties": values}


def _ref(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_ROW = {
    "id": _STRING,
    "state": {"type": "string", "enum": [each.value for each in State]},
    "arrived": _NUMBER,
    "size": _COUNT,
    "sender": {"type": ["string", "null"]},
    "recipients": _list(_STRING),
    "pending": _list(_STRING),
    "attempts": _COUNT,
    "next_attempt": _MAYBE,
    "last_reply": _STRING,
    "notified": {"type": "boolean"},
}
_SCHEMAS: Mapping[str, _Schema] = {
    "Message": _object(**_ROW),
    "WholeMessage": _object(
        **_ROW,
        client=_STRING,
        user=_STRING,
        message_id=_STRING,
        journal=_list({"type": "object"}),
    ),
    "Group": _object(
        by={"type": "string", "enum": [each.value for each in Grouping]},
        group=_STRING,
        messages=_COUNT,
        octets=_COUNT,
        oldest=_MAYBE,
        next_attempt=_MAYBE,
    ),
    "Totals": _object(messages=_COUNT, octets=_COUNT, oldest=_MAYBE),
    "Change": _object(
        change=_COUNT,
        action={"type": "string", "enum": [each.value for each in Action]},
        user=_STRING,
        total=_COUNT,
        done=_COUNT,
        passed=_COUNT,
        failed=_COUNT,
        problems=_list(_STRING),
        ended={"type": "boolean"},
    ),
    "Problem": _object(type=_STRING, title=_STRING, status=_COUNT, detail=_STRING),
}
_WANTED_CHANGE: _Schema = {
    "type": "object",
    "properties": {
        "action": {"type": "string", "enum": [each.value for each in Action]},
        "ids": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": 100},
            "minItems": 1,
            "maxItems": MOST_IDS,
        },
        "filter": {
            "type": "object",
            "properties": {name: schema for name, (schema, _) in _FILTER.items()},
            "additionalProperties": False,
        },
        "dry_run": {"type": "boolean"},
    },
    "required": ["action"],
    "additionalProperties": False,
    "oneOf": [{"required": ["ids"]}, {"required": ["filter"]}],
}


def _query(name: str, schema: _Schema, text: str, *, required: bool = False) -> _Schema:
    return {
        "name": name,
        "in": "query",
        "schema": schema,
        "description": text,
        "required": required,
    }


def _in_path(name: str, schema: _Schema, text: str) -> _Schema:
    return {"name": name, "in": "path", "schema": schema, "description": text, "required": True}


_FILTERS = [_query(name, schema, text) for name, (schema, text) in _FILTER.items()]
_LIMIT = {"type": "integer", "minimum": 0, "maximum": MOST_ROWS}


def _answers(schema: _Schema) -> Mapping[str, Any]:
    problem = {"application/problem+json": {"schema": _ref("Problem")}}
    return {
        "200": {"description": "Done.", "content": {"application/json": {"schema": schema}}},
        "default": {"description": "It cannot be done; detail says why.", "content": problem},
    }


def _get(text: str, schema: _Schema, parameters: Sequence[_Schema] = ()) -> _Schema:
    return {"get": {"summary": text, "parameters": list(parameters), "responses": _answers(schema)}}


def _paths() -> Mapping[str, _Schema]:
    rows = _object(count=_COUNT, complete={"type": "boolean"}, messages=_list(_ref("Message")))
    change = {
        "summary": "Change messages, by their ids or by a filter; dry_run only counts them.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _WANTED_CHANGE}},
        },
        "responses": _answers({"anyOf": [_ref("Change"), _object(count=_COUNT)]}),
    }
    traced = _object(complete={"type": "boolean"}, messages=_list({"type": "object"}))
    return {
        "/queue": _get(
            "Messages of the queue that match, and their number.",
            rows,
            [
                *_FILTERS,
                _query("order", {"type": "string", "enum": list(Order)}, "The order."),
                _query(
                    "first",
                    {"type": "integer", "minimum": 0, "maximum": 10**8},
                    "Messages to leave out at the beginning.",
                ),
                _query("limit", _LIMIT, "Messages at most."),
            ],
        ),
        "/queue/groups": _get(
            "The largest groups of the messages that match.",
            _object(groups=_list(_ref("Group"))),
            [
                *_FILTERS,
                _query("by", {"type": "string", "enum": list(Grouping)}, "The common thing."),
            ],
        ),
        "/queue/totals": _get("The totals of each state.", _map(_ref("Totals"))),
        "/queue/changes": {"post": change},
        "/queue/changes/{number}": _get(
            "How far a change has come.",
            _ref("Change"),
            [
                _in_path(
                    "number", {"type": "integer", "minimum": 1, "maximum": 10**8}, "Its number."
                )
            ],
        ),
        "/messages/{id}": _get(
            "A message of the queue.",
            _ref("WholeMessage"),
            [
                _in_path(
                    "id",
                    {"type": "string", "pattern": "^[0-9]+\\.[0-9]+\\.[0-9]+$", "maxLength": 100},
                    "Its id.",
                )
            ],
        ),
        "/trace": _get(
            "What became of messages, including those that have left.",
            traced,
            [
                _query(
                    "text",
                    {"type": "string", "minLength": 1, "maxLength": 500},
                    "An id, an address, a Message-ID, or words of a reply.",
                    required=True,
                ),
                _query("since", _AGE, "Only messages that left within this time."),
                _query("limit", _LIMIT, "Messages at most."),
            ],
        ),
        "/overview": _get("The facts of the first page.", {"type": "object"}),
        "/openapi.json": _get("This description.", {"type": "object"}),
    }


@cache
def described() -> Mapping[str, Any]:
    """Return the description."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "The console of E-MailRelay", "version": version()},
        "servers": [{"url": API}],
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


async def description(_request: Request, _user: ConsoleUser) -> Any:
    """Return the description."""
    return described()


ROUTES = [endpoint("/openapi.json", description)]
