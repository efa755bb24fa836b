#!/usr/bin/env bash
# Builds the project's images, loads them into the local cluster and installs both charts.
source "$(dirname "$0")/lib.sh"
source "$here/platform.sh"
running kube-apiserver || fail "the local cluster is not up; run make cluster first"
helm() { KUBECONFIG="$dev/kubeconfig" "$bin/helm" "$@"; }

echo "platform:"
step "build the programs"
if [ -n "${FATEH_RELEASE:-}" ]; then programs=$FATEH_RELEASE/programs; else programs=$("$here/programs.sh"); fi
# kubectl finds its plugins, and what completes their words, by name.
ln -sf "$programs/kubectl-fateh" "$bin/kubectl-fateh"
ln -sf "$programs/kubectl-fateh" "$bin/kubectl_complete-fateh"
step "load the images"
operator=$("$here/image.sh" fateh-platform.com/fateh-operator "$programs/fateh-operator")
runtime=$("$here/image.sh" fateh-platform.com/node-runtime "$programs/node-runtime")
hub=$("$here/image.sh" fateh-platform.com/fateh-hub "$programs/fateh-hub")

step "install the charts"
# An upgrade that was killed would refuse every later one.
kubectl delete secrets -A -l 'owner=helm,status in (pending-install,pending-upgrade)' >/dev/null
install_types
helm upgrade --install fateh "$charts/fateh" --namespace fateh-system \
  --set operator.image="$operator" --set node.image="$runtime" --set node.reportInterval=5 \
  --set operator.probeInterval=5 \
  --set baseDomain="$base_domain" --set publicPort="$public_port" --set ingress.className=traefik \
  --set "ingress.cidrs={$node_ip/32}" --set "apiServerCIDRs={$node_ip/32,${service_cidr%.*}.1/32}" \
  --set hub.enabled=true --set hub.image="$hub" --set hub.adminEmail=layla@example.com \
  --set hub.clusterIssuer=https://kubernetes.default.svc.cluster.local \
  --set databaseServer.host="$node_ip" --set "databaseServer.cidrs={$node_ip/32}" \
  --set databaseServer.tls.mode=VerifyFull --set databaseServer.tls.caSecret=postgres-ca >/dev/null

await_platform default
