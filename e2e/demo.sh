#!/usr/bin/env bash
# The main job, end to end: a cluster, the platform, three nodes, the first admin of one of them,
# a user, a course rolled out in stages, a fourth node by the hub's API with revenue on it, and what `kubectl` and the hub show of
# it. Everything is left running. A second run takes seconds.
# CLUSTER=current: on the user's own cluster, instead of one of this machine.
source "$(dirname "$0")/cluster/lib.sh"
case ${CLUSTER:-local} in
  local)
    "$here/up.sh"
    "$here/deploy.sh"
    password_file=$dev/admin-password
    reach() { curl --cacert "$dev/ca.crt" --resolve "$host:$public_port:127.0.0.1" "$@"; }
    plugin() { PATH=$bin:$PATH KUBECONFIG=$dev/kubeconfig kubectl-fateh "$@"; }
    ;;
  current) source "$here/current.sh" ;;
  *) fail "CLUSTER is local or current, and not $CLUSTER" ;;
esac

echo "nodes:"
step "apply riyadh, cairo and jakarta"
kubectl apply -f "$root/manifests/samples/" >/dev/null
step "wait until they are Ready"
kubectl wait --for=condition=Ready --timeout=120s localnode/riyadh localnode/cairo localnode/jakarta >/dev/null \
  || { kubectl get localnodes -o wide; fail "the nodes did not become Ready; see kubectl describe localnodes"; }
finish

# at HOST: whom `call` speaks to from here on.
at() { host=$1.$base_domain url=https://$1.$base_domain:$public_port; }
# call METHOD PATH [TOKEN [HEADER]] with the body on standard input: prints the envelope; fails on a refusal, showing it.
call() {
  local answer
  answer=$(reach -sS --max-time 20 -X "$1" "$url$2" \
    -H 'Content-Type: application/json' -H 'Accept-Language: en' ${3:+-H "Authorization: Bearer $3"} \
    ${4:+-H "$4"} ${5:+-H "$5"} --data-binary @-)
  [ "$(jq -r .success <<< "$answer")" = true ] || fail "$1 $2: $answer"
  echo "$answer"
}
# route PATH: waits until the ingress controller has heard of the host; the route is applied before.
route() {
  await 30 "the route of $host" reach -fsS --max-time 5 "$url$1"
}
# password FILE: prints the one that is kept there, made anew the first time. Kept from a run that ended in between.
password() {
  [ -e "$1" ] || (umask 077 && openssl rand -hex 16 > "$1")
  cat "$1"
}
# invited SECRET NAMESPACE: the invitation's token; nothing when it was accepted.
invited() { kubectl get secret "$1" -n "$2" -o jsonpath='{.data.token}' 2>/dev/null | base64 -d; }

at riyadh
route /api/local/node

# enter NODE USERNAME EMAIL: the access token of the node's first admin, who accepts the invitation the first time.
enter() {
  local token password
  password=$(password "$password_file")
  token=$(invited node-invitation "fateh-node-$1") || true
  [ -z "$token" ] || jq -n --arg token "$token" --arg name "$2" --arg password "$password" \
    '{token: $token, username: $name, password: $password}' | call POST /api/local/auth/invitation >/dev/null
  jq -n --arg email "$3" --arg password "$password" '{login: $email, password: $password}' \
    | call POST /api/local/auth/login | jq -r .data.accessToken
}
access=$(enter riyadh sara sara@example.com)
echo "  the first admin of riyadh signed in at $url"

users=$(call GET /api/local/users "$access" < /dev/null | jq '.data.users | length')
name=student-$(openssl rand -hex 4)
jq -n --arg name "$name" '{username: $name, email: ($name + "@example.com"), password: ($name + "-password"), role: "student"}' \
  | call POST /api/local/users "$access" >/dev/null
echo "  and added the user $name"

shown() { [ "$(kubectl get localnode riyadh -o jsonpath='{.status.statistics.users.total}')" -gt "$users" ]; }
await 30 "the new count in the status of riyadh" shown

echo "content:"
rollout() { kubectl get cdist algebra-1 -o jsonpath="{.status.$1}" 2>/dev/null; }
is() { [ "$(rollout "$1")" = "$2" ]; }
reports() { [ "$(kubectl get localnodes riyadh cairo jakarta -o json | jq '[.items[].status.conditions[] | select(.type == "Reporting" and .status == "True")] | length')" = 3 ]; }
await 120 "reports of all three" reports
# distribute VERSION FILTER: the sample, changed by a jq filter, through its gate.
distribute() {
  kubectl create -f "$root/manifests/samples/content/algebra-1.yaml" --dry-run=client -o json | jq --arg version "$1" "$2" | kubectl apply -f - >/dev/null
  current() { is current.version "$1" && { is phase AwaitingApproval || is phase Complete; }; }
  await 60 "version $1 on riyadh, the canary" current "$1"
  kubectl annotate cdist algebra-1 --overwrite "fateh-platform.com/approve=$(rollout current.revision)/everyone" >/dev/null
  await 60 "version $1 everywhere, once it was approved" is phase Complete
}
distribute 1.0 '.spec.content.version = $version'
echo "  the course algebra-1 is at riyadh, and, once approved, at cairo and jakarta"
at riyadh
id=$(call GET '/api/local/content?language=ar' "$access" < /dev/null | jq -r '[.data.content[] | select(.type == "course")][0].id')
piece=$(call GET "/api/local/content/$id" "$access" < /dev/null)
if [ "$(jq .data.isCustomized <<< "$piece")" = false ]; then
  tag=$(reach -sS -o /dev/null -D - -H "Authorization: Bearer $access" \
    -H 'Accept-Language: en' "$url/api/local/content/$id" | tr -d '\r' | awk 'tolower($1) == "etag:" {print $2}')
  jq '{content: (.data.content | .lessons += [{id: "riyadh", title: "من الرياض", text: "أمثلة من سوق الرياض"}])}' <<< "$piece" \
    | call PATCH "/api/local/content/$id" "$access" "If-Match: $tag" >/dev/null
  echo "  the admin of riyadh added a lesson to it"
fi
distribute 1.1 '.spec.content.version = $version | .spec.content.source.inline.ar.lessons[0].text += " وهكذا نبدأ."'
own=$(call GET "/api/local/content/$id" "$access" < /dev/null | jq '[.data.content.lessons[] | select(.id == "riyadh")] | length')
[ "$own" = 1 ] || fail "the lesson that riyadh added is gone"
echo "  version 1.1 came after it, and riyadh's own lesson is still there"
kubectl get cdist

echo "the hub:"
at hub
route /api/openapi.json
central=$(password "$password_file")
token=$(invited hub-invitation fateh-system) || true
[ -z "$token" ] || jq -n --arg token "$token" --arg password "$central" '{token: $token, displayName: "ليلى", password: $password}' \
  | call POST /api/global/auth/invitation >/dev/null
admin=$(jq -n --arg password "$central" '{email: "layla@example.com", password: $password}' \
  | call POST /api/global/auth/login | jq -r .data.accessToken)
echo "  the first platform admin signed in at $url"
if ! kubectl get localnode amman >/dev/null 2>&1; then
  jq -n '{slug: "amman", name: "مدرسة عمّان", region: "mena", country: "JO", currency: "JOD", timezone: "Asia/Amman",
    adminEmail: "omar@example.com"}' | call POST /api/global/nodes "$admin" >/dev/null
  echo "  and made a fourth node, amman, by the API"
fi
ready() { [ "$(call GET /api/global/nodes/amman "$admin" < /dev/null | jq .data.ready)" = true ]; }
await 120 "amman Ready, as the hub sees it" ready
gross() {
  call GET /api/global/statistics "$admin" < /dev/null \
    | jq -r '[.data.nodes[] | select(.slug == "amman") | .revenue[] | select(.currency == "JOD").gross] | first // "0.000"'
}
before=$(gross)

at amman
route /api/local/node
access=$(enter amman omar omar@example.com)
jq -n '{type: "course", amount: "25.500", currency: "JOD"}' \
  | call POST /api/local/revenue "$access" "x-node-id: amman" "Idempotency-Key: demo-$(openssl rand -hex 8)" >/dev/null
echo "  the admin of amman recorded 25.500 JOD"
at hub
# Kept as it was seen: another replica of the hub may be a moment behind.
arrived() { received=$(gross) && [ "$received" != "$before" ]; }
await 60 "the revenue in the hub's statistics" arrived
echo "  the hub's statistics: amman has received $received JOD"
echo
plugin status
people="The admin of riyadh is sara@example.com, of amman omar@example.com, of the hub layla@example.com; the password of all
three lies in $password_file."
if [ "${CLUSTER:-local}" = current ]; then
  cat <<TEXT

All of it goes on running, on the cluster of $context. Try next:

  kubectl get localnodes -o wide
  kubectl describe localnode riyadh
  kubectl explain localnode.spec
  PATH=$programs:\$PATH kubectl fateh tree riyadh

$people
To take it away: \`kubectl delete contentdistribution algebra-1\`, \`kubectl delete localnodes riyadh cairo jakarta amman\`,
\`helm uninstall fateh -n fateh-system\`. The types, the DatabaseServer and the retired databases stay.
TEXT
  exit
fi
cat <<TEXT

All of it goes on running. Try next:

  export KUBECONFIG=$dev/kubeconfig PATH=$bin:\$PATH
  kubectl get localnodes -o wide
  kubectl fateh tree riyadh
  kubectl fateh report
  kubectl describe localnode riyadh
  kubectl explain localnode.spec
  kubectl get all,ingress,secrets -n fateh-node-riyadh
  curl --cacert $dev/ca.crt --resolve riyadh.$base_domain:8443:127.0.0.1 https://riyadh.$base_domain:8443/

$people
\`make down\` takes everything away.
TEXT
