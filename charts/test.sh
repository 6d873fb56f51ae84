#!/usr/bin/env bash
# usage: charts/test.sh [HELM]. Lints the chart, renders it with many values, and checks what comes out.
set -euo pipefail
helm=${1:-helm}
# The oldest that Chart.yaml allows. Rendering asks no cluster, and a helm that was built plainly knows no version.
kubernetes=1.31.0
chart=$(cd "$(dirname "$0")" && pwd)/weft
rendered=$(mktemp)
trap 'rm -f "$rendered"' EXIT
failures=0

# render NAME [helm's arguments]: what follows looks at the result.
render() {
  name=$1
  shift
  "$helm" template weft "$chart" --kube-version "$kubernetes" --namespace weft-system "$@" >"$rendered" || { echo "charts: $name: does not render" >&2; exit 1; }
}

fail() {
  echo "charts: $name: $1" >&2
  failures=$((failures + 1))
}

has() { grep -qF -- "$1" "$rendered" || fail "lacks: $1"; }
lacks() { ! grep -qF -- "$1" "$rendered" || fail "has: $1"; }
count() { # TEXT NUMBER: lines that are exactly TEXT
  local found
  found=$(grep -cxF -- "$1" "$rendered" || true)
  [ "$found" = "$2" ] || fail "has $found times, not $2: $1"
}

refused() { # NAME MESSAGE [helm's arguments]
  name=$1
  local message=$2 said
  shift 2
  if said=$("$helm" template weft "$chart" --kube-version "$kubernetes" "$@" 2>&1); then fail "is accepted"; return; fi
  grep -qF -- "$message" <<<"$said" || fail "is refused otherwise: $said"
}

"$helm" lint --strict --quiet --kube-version "$kubernetes" "$chart"

render defaults
count 'kind: CustomResourceDefinition' 2
count '    helm.sh/resource-policy: keep' 2
count 'kind: ClusterRoleBinding' 2
count 'kind: RoleBinding' 1
has 'image: "ghcr.io/weft-dev/weft:0.1.0"'
has 'readOnlyRootFilesystem: true'
has 'runAsNonRoot: true'
has 'type: RuntimeDefault'
count '- {apiGroups: [policy], resources: [poddisruptionbudgets], verbs: [get, list, watch, create, patch, update]}' 1
count '- {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [list, watch, create, patch, delete]}' 1
count 'kind: NetworkPolicy' 1
has 'value: "app.kubernetes.io/name=weft,app.kubernetes.io/instance=weft,app.kubernetes.io/component=operator"'
lacks 'kind: ServiceMonitor'
lacks 'WEFT_WATCH_NAMESPACES'
lacks 'cluster-admin'
lacks '"*"'

render 'watched namespaces' --set 'watchNamespaces={team-a,team-b}'
count 'kind: ClusterRoleBinding' 1
count 'kind: RoleBinding' 3
has 'value: "team-a,team-b"'

render 'other images' --set image.repository=localhost/weft,image.tag=dev,image.pullPolicy=Never
has 'image: "localhost/weft:dev"'
has 'value: "localhost/weft:dev"'
has 'imagePullPolicy: Never'
render 'a node image' --set nodeImage.repository=example.com/node,nodeImage.tag=v2
has 'value: "example.com/node:v2"'

render 'no definitions' --set crds.install=false
lacks 'kind: CustomResourceDefinition'
render 'definitions that go' --set crds.keep=false
count 'kind: CustomResourceDefinition' 2
lacks 'helm.sh/resource-policy'

render 'no roles' --set rbac.create=false
lacks 'rbac.authorization.k8s.io'
render 'no aggregation' --set rbac.aggregate=false
lacks 'aggregate-to'
render 'an account at hand' --set serviceAccount.create=false,serviceAccount.name=ops
count 'kind: ServiceAccount' 0
has 'serviceAccountName: ops'

render 'no policies' --set networkPolicy.enabled=false
lacks 'kind: NetworkPolicy'
lacks 'WEFT_NETWORK_POLICIES'
# To take away what was made before.
has 'resources: [networkpolicies]'
render 'operators of another name' --set nameOverride=ops
has 'value: "app.kubernetes.io/name=ops,app.kubernetes.io/instance=weft,app.kubernetes.io/component=operator"'
count '      app.kubernetes.io/name: ops' 2

render 'everything on' --set monitoring.serviceMonitor.enabled=true,replicas=2,priorityClassName=system-cluster-critical \
  --set 'tolerations[0].operator=Exists,nodeSelector.disk=ssd,podLabels.team=storage,podAnnotations.note=here,imagePullSecrets[0].name=pull'
has 'kind: ServiceMonitor'
has 'kind: NetworkPolicy'
has 'replicas: 2'
has 'priorityClassName: system-cluster-critical'
has 'disk: ssd'
has 'team: storage'
has 'note: here'
has '- name: pull'

render 'a long name' --set fullnameOverride=a-name-of-exactly-fifty-three-characters-in-all-ab123
has 'name: a-name-of-exactly-fifty-three-characters-in-all-ab-cluster'

refused 'an unknown value' 'imag' --set imag.tag=1
refused 'a wrong pull policy' 'pullPolicy' --set image.pullPolicy=Sometimes
refused 'a wrong namespace' 'watchNamespaces' --set 'watchNamespaces={Team_A}'
refused 'an account without a name' 'serviceAccount.name is required' --set serviceAccount.create=false

if [ "$failures" -gt 0 ]; then
  echo "charts: $failures failures" >&2
  exit 1
fi
echo 'charts: every rendering is as it should be'
