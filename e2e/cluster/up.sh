#!/usr/bin/env bash
# Brings the machine's one local cluster up: Kubernetes' own programs, containerd, CoreDNS,
# Traefik and PostgreSQL as host processes. Idempotent; clears what a dead run left behind.
source "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || fail "the local cluster needs root (network namespaces, mounts); run make as root"
"$here/packages.sh"
mapfile -t tools < <("$here/tools.sh" kubernetes coredns traefik pause helm)
kubernetes=${tools[0]} coredns=${tools[1]} traefik=${tools[2]} pause=${tools[3]} helm=${tools[4]}

owner=$(cat "$run/owner" 2>/dev/null || true)
if [ -n "$owner" ] && [ "$owner" != "$root" ] && running kube-apiserver; then
  fail "another checkout's cluster runs on this machine ($owner); run \`make down\` there first"
fi
if ! running kube-apiserver || ! running containerd || [ "$owner" != "$root" ]; then
  "$here/down.sh" --quiet
fi

echo "local cluster:"
mkdir -p "$run" "$state" "$log" "$bin" "$state"/{cni/net.d,etc}
echo "$root" > "$run/owner"
for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
  ln -sf "$kubernetes" "$bin/$name"
done
ln -sf "$coredns" "$bin/coredns"
ln -sf "$traefik" "$bin/traefik"
ln -sf "$helm" "$bin/helm"

step "certificates"
"$here/certificates.sh"
install -m 600 "$pki/admin.kubeconfig" "$dev/kubeconfig"
install -m 644 "$pki/local.crt" "$dev/ca.crt"

pause_tag=$(sha256sum "$pause" | cut -c1-12)
render() {
  sed -e "s|@state@|$state|g; s|@run@|$run|g; s|@pki@|$pki|g; s|@node_ip@|$node_ip|g; s|@dns_ip@|$dns_ip|g" \
    -e "s|@pod_bridge@|$pod_bridge|g; s|@pod_cidr@|$pod_cidr|g; s|@cgroup@|$cgroup|g; s|@pause@|$pause_tag|g" \
    "$here/config/$1" > "$2"
}
render containerd.toml "$state/etc/containerd.toml"
render kubelet.yaml "$state/etc/kubelet.yaml"
render Corefile "$state/etc/Corefile"
render traefik-tls.yaml "$state/etc/traefik-tls.yaml"
render system.yaml "$state/etc/system.yaml"
render audit.yaml "$state/etc/audit.yaml"
render cni.conflist "$state/cni/net.d/10-fateh.conflist"

step "network"
ip link show "$node_bridge" >/dev/null 2>&1 || ip link add "$node_bridge" type bridge
ip addr replace "$node_ip/24" dev "$node_bridge"
ip link set "$node_bridge" up
[ -e "$run/ip_forward" ] || sysctl -n net.ipv4.ip_forward > "$run/ip_forward"
sysctl -qw net.ipv4.ip_forward=1

step "etcd and API server"
# No fsync: the cluster is thrown away, and the disk may be shared.
start etcd "$bin/etcd" --name fateh --data-dir "$state/etcd" --unsafe-no-fsync --logger zap --log-level warn \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --listen-metrics-urls ""
start kube-apiserver "$bin/kube-apiserver" --etcd-servers http://127.0.0.1:2379 \
  --advertise-address "$node_ip" --bind-address "$node_ip" --secure-port 6443 --service-cluster-ip-range "$service_cidr" \
  --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --anonymous-auth=false \
  --client-ca-file "$pki/cluster.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
  --kubelet-client-certificate "$pki/apiserver-kubelet.crt" --kubelet-client-key "$pki/apiserver-kubelet.key" \
  --kubelet-certificate-authority "$pki/cluster.crt" --kubelet-preferred-address-types InternalIP \
  --service-account-issuer https://kubernetes.default.svc.cluster.local \
  --service-account-key-file "$pki/service-account.pub" --service-account-signing-key-file "$pki/service-account.key" \
  --audit-policy-file "$state/etc/audit.yaml" --audit-log-path "$log/audit.log"
await 60 "the API server" kubectl get --raw /readyz

step "controller manager and scheduler"
start kube-controller-manager "$bin/kube-controller-manager" --kubeconfig "$pki/controller-manager.kubeconfig" \
  --bind-address 127.0.0.1 --leader-elect=false --use-service-account-credentials --kube-api-qps 200 --kube-api-burst 400 \
  --root-ca-file "$pki/cluster.crt" --service-account-private-key-file "$pki/service-account.key" \
  --allocate-node-cidrs --cluster-cidr "$pod_cidr" --node-cidr-mask-size 24 --service-cluster-ip-range "$service_cidr"
start kube-scheduler "$bin/kube-scheduler" --kubeconfig "$pki/scheduler.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false
kubectl apply -f "$state/etc/system.yaml" >/dev/null
# Gateway API's types, of the version that Traefik is made for.
gateway_api=$(cd "$here/tools/traefik" && go mod download -json sigs.k8s.io/gateway-api | jq -r .Dir)
kubectl apply --server-side -f "$gateway_api/config/crd/standard" >/dev/null

step "containerd, kubelet and kube-proxy"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then # cgroup v2
  mkdir -p "/sys/fs/cgroup/$cgroup"
  for controller in cpu cpuset memory pids hugetlb io; do
    for directory in /sys/fs/cgroup "/sys/fs/cgroup/$cgroup"; do
      echo "+$controller" 2>/dev/null > "$directory/cgroup.subtree_control" || true
    done
  done
else
  for controller in /sys/fs/cgroup/*/; do
    [ ! -e "$controller/cgroup.procs" ] || mkdir -p "$controller/$cgroup"
  done
fi
start containerd containerd --config "$state/etc/containerd.toml" --log-level warn
await 30 containerd ctr version
"$here/image.sh" fateh-platform.com/pause "$pause" "$pause_tag" >/dev/null
start kubelet "$bin/kubelet" --config "$state/etc/kubelet.yaml" --kubeconfig "$pki/kubelet.kubeconfig" \
  --root-dir "$state/kubelet" --node-ip "$node_ip" --hostname-override fateh
start kube-proxy "$bin/kube-proxy" --kubeconfig "$pki/kube-proxy.kubeconfig" --hostname-override fateh \
  --proxy-mode nftables --conntrack-max-per-core 0 --masquerade-all --cluster-cidr "$pod_cidr" \
  --healthz-bind-address 127.0.0.1:10256 --metrics-bind-address 127.0.0.1:10249

step "CoreDNS and Traefik"
start coredns "$bin/coredns" -conf "$state/etc/Corefile"
start traefik env KUBECONFIG="$pki/traefik.kubeconfig" "$bin/traefik" \
  --global.checknewversion=false --global.sendanonymoususage=false --log.level=INFO \
  --entrypoints.web.address=127.0.0.1:8080 --entrypoints.web.http.redirections.entrypoint.to=websecure \
  --entrypoints.web.http.redirections.entrypoint.scheme=https \
  --entrypoints.websecure.address=127.0.0.1:8443 --entrypoints.websecure.http.tls=true \
  --entrypoints.ping.address=127.0.0.1:8082 --ping=true --ping.entrypoint=ping \
  --providers.kubernetesingress=true --providers.kubernetesingress.throttleduration=100ms \
  --providers.kubernetesgateway=true --providers.kubernetesgateway.throttleduration=100ms \
  --providers.file.filename="$state/etc/traefik-tls.yaml"
await 30 Traefik curl -fs http://127.0.0.1:8082/ping
await 30 CoreDNS curl -fs "http://$node_ip:8053/health"

step "PostgreSQL"
"$here/postgres.sh"

step "node ready"
await 60 "the Kubernetes node" kubectl wait --for=condition=Ready node/fateh --timeout=1s
finish
