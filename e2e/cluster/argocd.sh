#!/usr/bin/env bash
# Brings Argo CD's core up on the local cluster: application controller, repo server and Redis as host processes,
# set up as Argo CD's own manifests do it and told of our kinds by ours. Idempotent; goes with the cluster.
source "$(dirname "$0")/lib.sh"
running kube-apiserver || fail "the local cluster is not up; run make cluster first"
"$here/packages.sh" gitops
argocd=$("$here/tools.sh" argocd)
for name in argocd-application-controller argocd-repo-server argocd; do ln -sf "$argocd" "$bin/$name"; done
# The tool is cached beyond the life of the module that it was built from.
manifests=$(cd "$here/tools/argocd" && go mod download -json github.com/argoproj/argo-cd/v3 | jq -r .Dir)/manifests

kubectl apply --server-side -k "$manifests/crds" >/dev/null
kubectl create namespace argocd --dry-run=client -o yaml | kubectl apply -f - >/dev/null
kubectl apply --server-side -n argocd -k "$manifests/base/config" >/dev/null
# Which its API server, that is not needed here, would make.
kubectl patch secret argocd-secret -n argocd --patch "{\"stringData\": {\"server.secretkey\": \"$(openssl rand -base64 32)\"}}" >/dev/null
kubectl patch configmap argocd-cm -n argocd --patch-file "$root/manifests/argocd/argocd-cm.yaml" >/dev/null
kubectl wait --for=condition=Established --timeout=30s crd/applications.argoproj.io crd/appprojects.argoproj.io >/dev/null
kubectl apply -f - >/dev/null <<'YAML'
apiVersion: argoproj.io/v1alpha1
kind: AppProject
metadata: {name: default, namespace: argocd}
spec:
  sourceRepos: ["*"]
  destinations: [{namespace: "*", server: "*"}]
  clusterResourceWhitelist: [{group: "*", kind: "*"}]
YAML

redis=127.0.0.1:8790 repo_server=127.0.0.1:8791
mkdir -p "$state"/argocd/{tls,ssh,gpg}
# Looks at git every five seconds, where three minutes are its default.
settings=(env KUBECONFIG="$pki/admin.kubeconfig" PATH="$bin:$PATH" ARGOCD_FAKE_IN_CLUSTER=true ARGOCD_GPG_ENABLED=false
  ARGOCD_RECONCILIATION_TIMEOUT=5s ARGOCD_RECONCILIATION_JITTER=0s
  ARGOCD_TLS_DATA_PATH="$state/argocd/tls" ARGOCD_SSH_DATA_PATH="$state/argocd/ssh" ARGOCD_GNUPGHOME="$state/argocd/gpg")
start argocd-redis redis-server --bind "${redis%:*}" --port "${redis#*:}" --save "" --appendonly no
start argocd-repo-server "${settings[@]}" "$bin/argocd-repo-server" --loglevel warn --disable-tls --redis "$redis" \
  --address "${repo_server%:*}" --port "${repo_server#*:}" --metrics-address 127.0.0.1 --metrics-port 8792
start argocd-application-controller "${settings[@]}" "$bin/argocd-application-controller" --loglevel warn \
  --namespace argocd --persist-resource-health --redis "$redis" --repo-server "$repo_server" --repo-server-plaintext --metrics-port 8793
await 30 "Argo CD's repo server" curl -fs http://127.0.0.1:8792/healthz?full=false
await 30 "Argo CD's application controller" curl -fs http://127.0.0.1:8793/healthz
