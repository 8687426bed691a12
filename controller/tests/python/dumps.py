"""Answers for objects, a JSON line each, what the released package makes of them.

A request is {"read": KIND, "data": OBJECT OF THE CLUSTER, "now": SECONDS} or {"build": KIND, "data": WHAT A DUMP
HOLDS}; KIND may be that of a list. The answer is {"json", "yaml", "columns", "rows", "wide_columns", "wide", "names"}
or {"error"}; tables only for what was read.
"""

import json
import sys
from datetime import datetime, timezone

import jumpstarter_kubernetes.datetime as ages
from jumpstarter_kubernetes import clients, exporters, leases
from kubernetes_asyncio.client.models import V1Condition, V1ObjectMeta, V1ObjectReference

MODELS = {
    model.__name__.removeprefix("V1Alpha1"): model
    for model in (
        clients.V1Alpha1Client,
        clients.V1Alpha1ClientList,
        exporters.V1Alpha1Exporter,
        exporters.V1Alpha1ExporterList,
        leases.V1Alpha1Lease,
        leases.V1Alpha1LeaseList,
    )
}


class Clock(datetime):
    """A clock that stands still."""

    seconds = 0

    @classmethod
    def now(cls, tz=None):
        return datetime.fromtimestamp(cls.seconds, timezone.utc)


ages.datetime = Clock


class Table:
    def __init__(self):
        self.columns, self.rows = [], []

    def add_column(self, name, **_):
        self.columns.append(name)

    def add_row(self, *cells):
        self.rows.append([cell or "" for cell in cells])


def kubernetes(model, data):
    names = {alias: name for name, alias in model.attribute_map.items()}
    return model(**{names[key]: value for key, value in data.items()})


def reference(data):
    return None if data is None else kubernetes(V1ObjectReference, data)


def build(kind, data):
    if kind.endswith("List"):
        items = [build(kind.removesuffix("List"), item) for item in data["items"]]
        return MODELS[kind](items=items)
    status = data["status"]
    fields = {"metadata": kubernetes(V1ObjectMeta, data["metadata"]), "status": status}
    if kind == "Lease":
        spec = data["spec"]
        fields["spec"] = leases.V1Alpha1LeaseSpec(
            client=kubernetes(V1ObjectReference, spec["client"]),
            duration=spec["duration"],
            selector=leases.V1Alpha1LeaseSelector(**spec["selector"]),
        )
        fields["status"] = leases.V1Alpha1LeaseStatus(
            **status
            | {
                "conditions": [kubernetes(V1Condition, c) for c in status["conditions"]],
                "exporter": reference(status["exporter"]),
            }
        )
    elif status is not None:
        credential = reference(status["credential"])
        of = clients.V1Alpha1ClientStatus if kind == "Client" else exporters.V1Alpha1ExporterStatus
        fields["status"] = of(**status | {"credential": credential})
    return MODELS[kind](**fields)


def table(value, **detail):
    table = Table()
    value.rich_add_columns(table, **detail)
    value.rich_add_rows(table, **detail)
    return table


def answer(request):
    if "build" in request:
        value = build(request["build"], request["data"])
        return {"json": value.dump_json(), "yaml": value.dump_yaml()}
    kind = request["read"]
    value = MODELS[kind].from_dict(request["data"])
    said = {"json": value.dump_json(), "yaml": value.dump_yaml()}
    if "now" in request:
        Clock.seconds = request["now"]
        brief = table(value)
        wide = table(value, devices=True) if kind.startswith("Exporter") else brief
        names = []
        value.rich_add_names(names)
        said |= {"columns": brief.columns, "rows": brief.rows, "names": names}
        said |= {"wide_columns": wide.columns, "wide": wide.rows}
    return said


for line in sys.stdin:
    try:
        said = answer(json.loads(line))
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(said), flush=True)
