"""Helm's own library on the chart: lint it, render it, and hold manifests against the schemas of a Kubernetes version.

  chart.py lint CHART VALUES...             every remark beyond information, one a line; exit status 1 where there is one
  chart.py render CHART VALUES              all manifests as one YAML stream, in the order of their files
  chart.py notes CHART VALUES               what the user reads after the installation
  chart.py validate VERSION < manifests     what breaks the schemas, one a line; exit status 1 where there is something
"""

import sys

import helm_python
import kubernetes_validate
import yaml

# Kinds of operators, which Kubernetes' own schemas do not know.
FOREIGN = {"PodMonitor", "PrometheusRule", "ScaledObject", "KafkaTopic", "KafkaUser"}


def values_of(path):
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file) or {}


def rendered(chart, values):
    return helm_python.Chart.load(chart).render(values_of(values), name="bodea", namespace="cdp", is_install=True)


def lint(chart, files):
    bad = False
    for path in files:
        for message in helm_python.lint(chart, values=values_of(path))["messages"]:
            if message["severity"] > 1:
                bad = True
                print(f"{path}: {message['path']}: {message['error']}")
    return bad


def render(chart, values):
    for path, text in sorted(rendered(chart, values).items()):
        if path.endswith("NOTES.txt") or not text.strip():
            continue
        text = "\n".join(line.rstrip() for line in text.strip().splitlines() if line.strip())
        print(f"---\n# Source: {path}\n{text.removeprefix('---').lstrip()}")


def notes(chart, values):
    for path, text in rendered(chart, values).items():
        if path.endswith("NOTES.txt"):
            print(text)


def validate(version):
    bad = False
    for document in yaml.safe_load_all(sys.stdin):
        if not document or document["kind"] in FOREIGN:
            continue
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            bad = True
            print(f"{document['kind']} {document['metadata']['name']}: {error}")
    return bad


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    actions = {
        "lint": lambda: lint(arguments[0], arguments[1:]),
        "render": lambda: render(*arguments),
        "notes": lambda: notes(*arguments),
        "validate": lambda: validate(*arguments),
    }
    sys.exit(1 if actions[command]() else 0)
