#!/usr/bin/env python3
"""Checks the description of a server's interface, and that its answers are as described: check.py URL OBJECT_ID

Ends with an error where the document is not valid OpenAPI, or an answer has another form.
"""
import json
import sys
import urllib.error
import urllib.parse
import urllib.request

import jsonschema
from openapi_spec_validator import validate


def answer(url):
    """The status, the type and the body."""
    try:
        with urllib.request.urlopen(url) as reply:
            return reply.status, reply.headers["Content-Type"], reply.read()
    except urllib.error.HTTPError as reply:
        return reply.status, reply.headers["Content-Type"], reply.read()


def main():
    url, object_id = sys.argv[1:]
    document = json.loads(answer(f"{url}/openapi.json")[2])
    validate(document)
    asked = 0
    for path, methods in document["paths"].items():
        if "get" not in methods:
            continue
        parameters = methods["get"].get("parameters", [])
        given = {parameter["name"]: value(parameter) for parameter in parameters if parameter["in"] == "query"}
        path = path.replace("{object_id}", urllib.parse.quote(object_id, safe=""))
        # All that is described is taken, and nothing else is.
        for query, is_known in ((given, True), ({**given, "no_such": 1}, False)):
            query.pop("approximate", None)
            check(document, methods["get"], f"{url}{path}?{urllib.parse.urlencode(query)}", is_known)
            asked += 1
    print(f"{asked} answers are as described")


def value(parameter):
    schema = parameter["schema"]
    if "enum" in schema:
        return schema["enum"][-1]
    known = {"within": "a", "text": "red", "maxDistance": 1}
    return known.get(parameter["name"], schema.get("default"))


def check(document, operation, address, is_known):
    status, kind, body = answer(address)
    assert status in ((200, 501) if is_known else (400,)), f"{address} answers {status}: {body}"
    # A health check and the metrics have no errors of their own.
    described = operation["responses"].get(str(status)) or operation["responses"].get("default")
    if described is None:
        assert not is_known, f"{status} of {address} is not described"
        return
    if kind == "application/json":
        schema = {**described["content"][kind]["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(json.loads(body))
        unknown = set(json.loads(body)) - set(properties(document, schema))
        assert not unknown, f"{address} answers {unknown}, which are not described"
    else:
        kinds = list(described["content"])
        assert any(kind.startswith(known.rstrip("*")) for known in kinds), f"{address} answers {kind}, not {kinds}"


def properties(document, schema):
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema["properties"]


main()
