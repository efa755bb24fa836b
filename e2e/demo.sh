#!/usr/bin/env bash
# The main job, end to end: a cluster, the platform, three nodes, the first admin of one of them,
# a user, and what `kubectl` shows of it. Everything is left running. A second run takes seconds.
source "$(dirname "$0")/cluster/lib.sh"
"$here/up.sh"
"$here/deploy.sh"

echo "nodes:"
step "apply riyadh, cairo and jakarta"
kubectl apply -f "$root/manifests/samples/" >/dev/null
step "wait until they are Ready"
kubectl wait --for=condition=Ready --timeout=120s localnode/riyadh localnode/cairo localnode/jakarta >/dev/null \
  || { kubectl get localnodes -o wide; fail "the nodes did not become Ready; see kubectl describe localnodes"; }
finish

host=riyadh.$base_domain
url=https://$host:8443
# call METHOD PATH [TOKEN] with the body on standard input: prints the envelope; fails on a refusal, showing it.
call() {
  local answer
  answer=$(curl -sS --max-time 20 --cacert "$dev/ca.crt" --resolve "$host:8443:127.0.0.1" -X "$1" "$url$2" \
    -H 'Content-Type: application/json' -H 'Accept-Language: en' ${3:+-H "Authorization: Bearer $3"} --data-binary @-)
  [ "$(jq -r .success <<< "$answer")" = true ] || fail "$1 $2: $answer"
  echo "$answer"
}

# The route is applied before the ingress controller has heard of it.
await 30 "the route of riyadh" curl -fsS --max-time 5 --cacert "$dev/ca.crt" --resolve "$host:8443:127.0.0.1" "$url/api/local/node"

password_file=$dev/admin-password
if [ ! -e "$password_file" ]; then
  # Kept from a run that ended between the two: the invitation may have been accepted with it.
  [ -e "$password_file.new" ] || (umask 077 && openssl rand -hex 16 > "$password_file.new")
  token=$(kubectl get secret node-invitation -n fateh-node-riyadh -o jsonpath='{.data.token}' 2>/dev/null | base64 -d) || true
  [ -z "$token" ] || jq -n --arg token "$token" --rawfile password "$password_file.new" \
    '{token: $token, username: "sara", password: ($password | rtrimstr("\n"))}' | call POST /api/local/auth/invitation >/dev/null
  mv "$password_file.new" "$password_file"
  [ -z "$token" ] || echo "  the first admin of riyadh accepted the invitation"
fi
access=$(jq -n --rawfile password "$password_file" '{login: "sara@example.com", password: ($password | rtrimstr("\n"))}' \
  | call POST /api/local/auth/login | jq -r .data.accessToken)
echo "  the first admin of riyadh signed in at $url"

before=$(call GET /api/local/users "$access" < /dev/null | jq '.data.users | length')
name=student-$(openssl rand -hex 4)
jq -n --arg name "$name" '{username: $name, email: ($name + "@example.com"), password: ($name + "-password"), role: "student"}' \
  | call POST /api/local/users "$access" >/dev/null
echo "  and added the user $name"

shown() { [ "$(kubectl get localnode riyadh -o jsonpath='{.status.statistics.users.total}')" -gt "$before" ]; }
await 30 "the new count in the status of riyadh" shown
echo
kubectl get localnodes
cat <<TEXT

All of it goes on running. Try next:

  export KUBECONFIG=$dev/kubeconfig PATH=$bin:\$PATH
  kubectl get localnodes -o wide
  kubectl describe localnode riyadh
  kubectl explain localnode.spec
  kubectl get all,ingress,secrets -n fateh-node-riyadh
  curl --cacert $dev/ca.crt --resolve $host:8443:127.0.0.1 $url/

The admin of riyadh is sara@example.com; the password lies in $password_file.
\`make down\` takes everything away.
TEXT
