#!/usr/bin/env bash
# Takes the local cluster away, whoever started it and however it ended: processes, pods,
# mounts, cgroups, bridges, packet-filter tables, data. Nothing of it stays on the machine.
source "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || fail "the local cluster runs as root; run make down as root"
[ "${1:-}" = --quiet ] || echo "taking the local cluster down"

# Pods first, and with nothing left to bring them back.
for name in argocd-application-controller argocd-repo-server argocd-redis kubelet kube-proxy kube-scheduler kube-controller-manager traefik coredns; do stop $name; done
if running containerd; then
  for task in $(ctr tasks list -q 2>/dev/null); do
    ctr tasks delete --force "$task" >/dev/null 2>&1 || true
  done
fi
stop containerd
# Shims and containers outlive containerd: the former are known by our socket, the latter by our cgroup.
for pid in $(pgrep -f "containerd-shim.* -address $containerd_socket" || true) \
  $(find /sys/fs/cgroup/$cgroup /sys/fs/cgroup/*/$cgroup -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u); do
  kill -KILL "$pid" 2>/dev/null || true
done
for name in postgres kube-apiserver etcd; do stop $name; done

for where in "$run" "$state"; do
  awk -v under="$where/" 'index($2, under) == 1 {print $2}' /proc/self/mounts | sort -r | while read -r mount; do
    umount -l "$mount" || true
  done
done
find /sys/fs/cgroup/$cgroup /sys/fs/cgroup/*/$cgroup -depth -type d -exec rmdir {} + 2>/dev/null || true
ip link delete $pod_bridge 2>/dev/null || true
ip link delete $node_bridge 2>/dev/null || true
if command -v nft >/dev/null; then
  nft delete table ip kube-proxy 2>/dev/null || true
  nft delete table ip6 kube-proxy 2>/dev/null || true
fi
[ ! -e "$run/ip_forward" ] || sysctl -qw net.ipv4.ip_forward="$(cat "$run/ip_forward")"
rm -rf "$run" "$state"
rm -rf "$dev"/{kubeconfig,ca.crt,log,admin-password,admin-password.new}
