# The platform on the cluster that the user's kubeconfig points at: images to a registry, both charts, one DatabaseServer of
# the user's. Sourced by the demo; says what it would do, and asks, before it does anything.
# shellcheck shell=bash
source "$here/platform.sh"
type -P kubectl >/dev/null || fail "kubectl is missing; it is what your cluster is reached by"
for program in cargo go jq curl openssl; do
  command -v $program >/dev/null || fail "$program is missing; the demo is built and run with it"
done
[ -n "${IMAGE_REGISTRY:-}" ] || fail "say where your cluster gets images from: IMAGE_REGISTRY=registry.example.com/fateh"
[ -n "${DATABASE_SERVER:-}" ] || fail "say which DatabaseServer takes the databases, by its name or by a file with its manifest: DATABASE_SERVER=server.yaml (docs/postgres.md has one)"
[[ $DATABASE_SERVER != *[/.]* || -r $DATABASE_SERVER ]] || fail "DATABASE_SERVER=$DATABASE_SERVER cannot be read"
[ -z "${VALUES:-}" ] || [ -r "$VALUES" ] || fail "VALUES=$VALUES cannot be read"

context=$(command kubectl config current-context)
# Whoever changes the context meanwhile changes it for others.
kubectl() { command kubectl --context "$context" "$@"; }
helm_program=$("$here/tools.sh" helm)
helm() { "$helm_program" --kube-context "$context" "$@"; }
crane=$("$here/tools.sh" crane)
server=$(kubectl config view --minify -o jsonpath='{.clusters[0].cluster.server}')
cluster=$(kubectl get namespace kube-system -o jsonpath='{.metadata.uid}') || fail "the cluster of the context $context does not answer"
# What was installed for good is not a demo's to change; a demo of before is gone on with.
kept=$dev/clusters/$cluster
if [ ! -d "$kept" ]; then
  ! helm status fateh --namespace fateh-system >/dev/null 2>&1 \
    || fail "there is a platform on this cluster already (the release fateh); the demo would change it"
  taken=$(kubectl get localnodes riyadh cairo jakarta amman --ignore-not-found -o name 2>/dev/null || true)
  [ -z "$taken" ] || fail "there are nodes already that the demo would change: $taken"
fi

cat <<TEXT
The cluster:
  context           $context
  API server        $server
  images go to      $IMAGE_REGISTRY
  database server   $DATABASE_SERVER
  values            ${VALUES:-those of the chart}
It gets the charts fateh-crds and fateh (in the namespace fateh-system), the nodes riyadh, cairo, jakarta and amman, and a course.
TEXT
if [ -z "${YES:-}" ]; then
  read -r -p "Go on? [y/N] " answer || answer=
  [[ $answer = [yY]* ]] || fail "nothing was done; answer y, or set YES=1"
fi

echo "platform:"
step "build the programs"
programs=$("$here/programs.sh")
step "push the images"
archive=$(mktemp)
trap 'rm -f "$archive" "$archive.log"' EXIT
push() { # PROGRAM: prints the reference by digest
  local tag
  tag=$(sha256sum "$programs/$1" | cut -c1-12)
  "$here/archive.sh" "$IMAGE_REGISTRY/$1:$tag" "$programs/$1" "$archive" || fail "the image of $1 could not be made"
  "$crane" push "$archive" "$IMAGE_REGISTRY/$1:$tag" 2> "$archive.log" \
    || fail "$IMAGE_REGISTRY did not take the image of $1: $(tail -1 "$archive.log") (crane signs in as docker push does: $HOME/.docker/config.json)"
}
operator=$(push fateh-operator)
runtime=$(push node-runtime)
hub=$(push fateh-hub)

step "install the charts"
mkdir -p "$kept"
install_types
kubectl get namespace fateh-system >/dev/null 2>&1 || kubectl create namespace fateh-system >/dev/null
if [ -r "$DATABASE_SERVER" ]; then
  DATABASE_SERVER=$(kubectl apply -f "$DATABASE_SERVER" -o jsonpath='{.metadata.name}')
fi
found=$(kubectl get databaseserver "$DATABASE_SERVER" -o json) || fail "there is no DatabaseServer $DATABASE_SERVER"
secret=$(jq -r .spec.adminSecretRef.name <<< "$found")
kubectl get secret "$secret" -n fateh-system >/dev/null || fail "the database server's Secret is missing; make it with the operator's role (docs/postgres.md): kubectl create secret generic $secret -n fateh-system --from-literal=username=… --from-literal=password=…"
# Network policies let the hub reach a server that the chart did not make itself.
jq 'if .metadata.labels["app.kubernetes.io/managed-by"] == "Helm" then {} else
  {databaseServer: {host: "", port: (.spec.port // 5432), cidrs: (.spec.cidrs // [])}} end' <<< "$found" > "$archive"
helm upgrade --install fateh "$charts/fateh" --namespace fateh-system --reset-then-reuse-values \
  --values "$archive" ${VALUES:+--values "$VALUES"} \
  --set operator.image="$operator" --set node.image="$runtime" --set node.reportInterval=5 \
  --set hub.enabled=true --set hub.image="$hub" --set hub.adminEmail=layla@example.com \
  --set hub.databaseServer="$DATABASE_SERVER" >/dev/null
await_platform "$DATABASE_SERVER"

values=$(helm get values fateh --namespace fateh-system --all --output json)
base_domain=$(jq -r .baseDomain <<< "$values")
public_port=$(jq -r .publicPort <<< "$values")
password_file=$kept/admin-password
PATH=$programs:$PATH
# As the browser of one who has neither the names in DNS nor the authority on the machine.
reach() { curl ${CA_FILE:+--cacert "$CA_FILE"} ${INGRESS_ADDRESS:+--resolve "$host:$public_port:$INGRESS_ADDRESS"} "$@"; }
plugin() { kubectl-fateh --context "$context" "$@"; }
