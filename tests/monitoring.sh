#!/usr/bin/env bash
# Checks and tests the rules by which people are called, and that a runbook says what to do about each.
source "$(dirname "$0")/../e2e/cluster/lib.sh"
"$here/packages.sh" monitoring
cd "$root"
promtool check rules charts/fateh/monitoring/rules.yaml
promtool test rules tests/monitoring/rules.yaml
# Dashboards are read by Grafana alone; that their expressions are some can be told here.
jq -s '{groups: [{name: "dashboards", rules: [.[].panels[].targets[] | {record: "shown:by:dashboard", expr: .expr}]}]}' \
  charts/fateh/monitoring/dashboards/*.json | promtool check rules --lint=none /dev/stdin
sed -n 's/.*RUNBOOKS#//p' charts/fateh/monitoring/rules.yaml | while read -r page; do
  grep -qi "^## $page\$" docs/runbooks.md || fail "docs/runbooks.md has no section on $page"
  grep -q "runbook_url: RUNBOOKS#$page\b" tests/monitoring/rules.yaml || fail "no test lets $page call anybody"
done
