"""Says what the schemas of Kubernetes' versions make of objects.

Reads {"versions": [...], "objects": [...]} and answers, for each version, what is wrong with each object: null if nothing
is, or words; objects of kinds that Kubernetes does not know are "no schema".
"""

import json
import sys

import kubernetes_validate


def verdict(thing, version):
    try:
        used = kubernetes_validate.validate(thing, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        return "no schema"
    except kubernetes_validate.ValidationError as error:
        place = ".".join(str(part) for part in error.path)
        return f"{place}: {error.message}"
    if used != version:
        raise SystemExit(f"there are no schemas of {version}")
    return None


question = json.load(sys.stdin)
print(json.dumps([
    [verdict(thing, version) for thing in question["objects"]] for version in question["versions"]
]))
