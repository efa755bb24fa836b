#!/usr/bin/env bash
# Makes the cluster's certificates: one authority for Kubernetes, one ("local CA") for what
# users and the operator meet: the wildcard certificate and PostgreSQL's.
source "$(dirname "$0")/lib.sh"
[ ! -e "$pki/done" ] || exit 0
rm -rf "$pki"
mkdir -p "$pki"
cd "$pki"
umask 077

authority() { # NAME COMMON-NAME
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 825 -subj "/CN=$2" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$1.key" -out "$1.crt" 2>/dev/null
}
certificate() { # NAME AUTHORITY SUBJECT [SAN]
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj "$3" -keyout "$1.key" -out "$1.csr" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -days 825 -out "$1.crt" \
    -extfile <(echo "extendedKeyUsage=serverAuth,clientAuth"
               echo "keyUsage=digitalSignature"
               [ -z "${4:-}" ] || echo "subjectAltName=$4") 2>/dev/null
  rm "$1.csr"
}
client() { # NAME SUBJECT: a certificate and the kubeconfig that uses it
  certificate "$1" cluster "$2"
  cat > "$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters:
- name: fateh
  cluster: {server: "https://$node_ip:6443", certificate-authority-data: $(base64 -w0 cluster.crt)}
users:
- name: $1
  user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}
contexts:
- name: fateh
  context: {cluster: fateh, user: $1}
current-context: fateh
YAML
}

authority cluster fateh-cluster-ca
authority local "Fateh local CA"
names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
certificate apiserver cluster /CN=kube-apiserver "$names,IP:$node_ip,IP:127.0.0.1,IP:${service_cidr%.*}.1"
certificate apiserver-kubelet cluster /O=system:masters/CN=kube-apiserver-kubelet
certificate kubelet-serving cluster /CN=fateh "DNS:fateh,IP:$node_ip"
client admin /O=system:masters/CN=admin
client controller-manager /CN=system:kube-controller-manager
client scheduler /CN=system:kube-scheduler
client kubelet /O=system:nodes/CN=system:node:fateh
client kube-proxy /CN=system:kube-proxy
client coredns /CN=coredns
client traefik /CN=traefik
certificate wildcard local "/CN=*.$base_domain" "DNS:*.$base_domain,DNS:$base_domain"
certificate postgres local /CN=postgres "IP:$node_ip,DNS:postgres"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out service-account.key 2>/dev/null
openssl pkey -in service-account.key -pubout -out service-account.pub 2>/dev/null
touch "$pki/done"
