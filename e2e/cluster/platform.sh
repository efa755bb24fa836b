# Shared by those who install the platform: its types, and the wait until it runs. Sourced; wants `kubectl` and `helm`.
# shellcheck shell=bash

# Those of this tree, unless another release is to be installed.
charts=${FATEH_RELEASE:-$root}/charts

install_types() {
  helm upgrade --install fateh-crds "$charts/fateh-crds" >/dev/null
  kubectl wait --for=condition=Established --timeout=30s crd/localnodes.fateh-platform.com \
    crd/databaseservers.fateh-platform.com crd/nodereports.fateh-platform.com crd/nodecontents.fateh-platform.com \
    crd/contentdistributions.fateh-platform.com >/dev/null
}

await_platform() { # DATABASESERVER
  step "operator and database server"
  kubectl rollout status deployment/fateh-operator --namespace fateh-system --timeout=120s >/dev/null \
    || { kubectl -n fateh-system logs deployment/fateh-operator --tail=20; fail "the operator did not come up"; }
  kubectl wait --for=condition=Ready --timeout=60s "databaseserver/$1" >/dev/null \
    || { kubectl describe databaseserver "$1" | tail -30; fail "the database server $1 is not Ready; its conditions say why"; }
  step "hub"
  kubectl rollout status deployment/fateh-hub --namespace fateh-system --timeout=120s >/dev/null \
    || { kubectl -n fateh-system describe pods -l app.kubernetes.io/name=fateh-hub | tail -20
         kubectl -n fateh-system logs deployment/fateh-hub --tail=20; fail "the hub did not come up"; }
  finish
}
