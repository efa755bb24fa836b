#!/usr/bin/env bash
# Prints both charts as one manifest, for those without Helm: the platform without the hub. `make generate` keeps it in
# manifests/install.yaml. Usage: render.sh HELM [REGISTRY [VERSION]]
set -euo pipefail
cd "$(dirname "$0")"
registry=${2:-ghcr.io/fateh-platform} version=${3:-$(sed -n 's/^appVersion: //p' fateh/Chart.yaml)}
{
  cat <<TEXT
# The platform for those without Helm, rendered from the charts by \`make generate\`. Put your images in the place of these,
# then: kubectl apply --server-side -f install.yaml
apiVersion: v1
kind: Namespace
metadata: {name: fateh-system}
TEXT
  "$1" template fateh-crds fateh-crds
  "$1" template fateh fateh --namespace fateh-system --no-hooks --kube-version 1.36 \
    --set "operator.image=$registry/fateh-operator:$version" --set "node.image=$registry/node-runtime:$version"
} | sed '/app.kubernetes.io\/managed-by: Helm/d' # what is applied by hand is not Helm's to manage
