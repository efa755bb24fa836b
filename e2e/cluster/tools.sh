#!/usr/bin/env bash
# Builds the cluster's programs from their Go modules into a cache outside the tree,
# keyed by module, lock file and Go version, and prints the path of each tool named.
# Usage: tools.sh kubernetes|coredns|helm|traefik|pause|argocd|actionlint|crane…
source "$(dirname "$0")/lib.sh"
command -v go >/dev/null || fail "go is missing; install Go 1.26 or later"

kubernetes_version=v1.36.3
argocd_version=3.2.0
declare -A package=(
  [kubernetes]=.
  [pause]=.
  [coredns]=github.com/coredns/coredns
  [helm]=helm.sh/helm/v3/cmd/helm
  [traefik]=github.com/traefik/traefik/v3/cmd/traefik
  [argocd]=github.com/argoproj/argo-cd/v3/cmd
  [actionlint]=github.com/rhysd/actionlint/cmd/actionlint
  [crane]=github.com/google/go-containerregistry/cmd/crane
)

for tool in "$@"; do
  module=$here/tools/$tool
  case $tool in
    kubernetes)
      version=k8s.io/component-base/version
      flags="-X $version.gitVersion=$kubernetes_version -X $version.gitMajor=1 -X $version.gitMinor=36 -X $version.gitTreeState=clean" ;;
    helm)
      version=helm.sh/helm/v3/pkg/chartutil
      flags="-X $version.k8sVersionMajor=1 -X $version.k8sVersionMinor=36" ;;
    argocd) flags="-X github.com/argoproj/argo-cd/v3/common.version=$argocd_version" ;;
    *) flags= ;;
  esac
  key=$( (find "$module" -type f | sort | xargs cat; go env GOVERSION; echo "$flags") | sha256sum | cut -c1-16)
  out=$cache/tools/$tool-$key
  if [ ! -x "$out" ]; then
    started=$SECONDS
    echo "building $tool (once; kept in the cache)" >&2
    mkdir -p "$cache/tools"
    (cd "$module" && CGO_ENABLED=0 go build -mod=mod -trimpath -ldflags "-s -w $flags" -o "$out.building" "${package[$tool]}")
    mv "$out.building" "$out"
    echo "built $tool in $((SECONDS - started)) s" >&2
  fi
  echo "$out"
done
