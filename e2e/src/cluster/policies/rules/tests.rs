use serde_json::{Value, json};

use super::*;

/// Two namespaces: `store` with its pods `a` and `b` (which has a port by name) on two machines, and `shop` with `c`.
fn objects(policies: &[Value]) -> Objects {
    let pod = |namespace: &str, name: &str, node: &str, address: &str| {
        let pod = json!({
            "metadata": {"namespace": namespace, "name": name, "labels": {"app": name, "kind": "pod"}},
            "spec": {"nodeName": node, "containers": [{"name": "it", "ports": [
                {"name": "web", "containerPort": if name == "b" { 8080 } else { 80 }, "protocol": "TCP"}]}]},
            "status": {"phase": "Running", "podIP": address},
        });
        Arc::new(serde_json::from_value(pod).expect("a pod"))
    };
    let namespace = |name: &str| {
        let namespace = json!({"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}});
        Arc::new(serde_json::from_value(namespace).expect("a namespace"))
    };
    let policy = |spec: &Value| {
        let policy = json!({"metadata": {"namespace": "store", "name": "it"}, "spec": spec});
        Arc::new(serde_json::from_value(policy).expect("a policy"))
    };
    Objects {
        policies: policies.iter().map(policy).collect(),
        pods: vec![
            pod("store", "a", "one", "10.0.1.1"),
            pod("store", "b", "two", "10.0.2.1"),
            pod("shop", "c", "one", "10.0.1.2"),
        ],
        namespaces: vec![namespace("store"), namespace("shop")],
    }
}

/// All rules, machine by machine.
fn rules(policies: &[Value]) -> Vec<String> {
    translate(&objects(policies)).into_values().flat_map(|rules| rules.lines).collect()
}

#[test]
fn without_policies_nobody_is_guarded() {
    assert_eq!(translate(&objects(&[])), BTreeMap::new());
}

#[test]
fn an_empty_policy_denies_everything_to_all_pods_of_its_namespace() {
    let all = translate(&objects(&[json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})]));
    let both = |address: &str| {
        [format!("-A WEFT-IN -d {address}/32 -j WEFT-DENIED"), format!("-A WEFT-OUT -s {address}/32 -j WEFT-DENIED")]
    };
    assert_eq!(all.keys().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!((&*all["one"].lines, &*all["two"].lines), (&both("10.0.1.1")[..], &both("10.0.2.1")[..]));
    assert_eq!(all["one"].guarded, BTreeSet::from(["10.0.1.1".parse().expect("an address")]));
    // Silent: about what comes in, and about what goes out where something is said of it.
    let silent = json!({"podSelector": {"matchLabels": {"app": "a"}}});
    assert_eq!(rules(&[silent]), ["-A WEFT-IN -d 10.0.1.1/32 -j WEFT-DENIED"]);
    let egress = json!({"podSelector": {"matchLabels": {"app": "a"}}, "egress": [{}]});
    let wanted = [
        "-A WEFT-IN -d 10.0.1.1/32 -j WEFT-DENIED",
        "-A WEFT-OUT -s 10.0.1.1/32 -j RETURN",
        "-A WEFT-OUT -s 10.0.1.1/32 -j WEFT-DENIED",
    ];
    assert_eq!(rules(&[egress]), wanted);
}

/// What a rule about ingress of `a` lets pass.
fn passing(rule: &Value) -> Vec<String> {
    let policy = json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Ingress"], "ingress": [rule]});
    let mut lines = rules(&[policy]);
    assert_eq!(lines.pop().as_deref(), Some("-A WEFT-IN -d 10.0.1.1/32 -j WEFT-DENIED"));
    let pass = |line: String| {
        let line = line.strip_prefix("-A WEFT-IN -d 10.0.1.1/32").and_then(|line| line.strip_suffix(" -j RETURN"));
        line.expect("a rule of the pod's").trim().to_owned()
    };
    lines.into_iter().map(pass).collect()
}

#[test]
fn peers_are_pods_of_the_own_namespace_of_others_and_blocks() {
    let pods = json!({"matchLabels": {"kind": "pod"}});
    let shop = json!({"matchLabels": {"kubernetes.io/metadata.name": "shop"}});
    let from = |peers: Value| passing(&json!({"from": peers}));
    assert_eq!(from(json!([{"podSelector": pods}])), ["-s 10.0.1.1/32", "-s 10.0.2.1/32"]);
    assert_eq!(from(json!([{"namespaceSelector": shop}])), ["-s 10.0.1.2/32"]);
    assert_eq!(from(json!([{"namespaceSelector": shop, "podSelector": {"matchLabels": {"app": "a"}}}])), [""; 0]);
    let everywhere = json!([{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "c"}}}]);
    assert_eq!(from(everywhere), ["-s 10.0.1.2/32"]);
    let either = json!([{"namespaceSelector": shop}, {"podSelector": {"matchLabels": {"app": "b"}}}]);
    assert_eq!(from(either), ["-s 10.0.1.2/32", "-s 10.0.2.1/32"]);
    let block = json!([{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.128/25"]}}]);
    assert_eq!(from(block), ["-s 192.0.2.0/25"]);
    assert_eq!(from(json!([{"ipBlock": {"cidr": "fd00::/8"}}])), [""; 0]);
    // Nobody in particular is everybody.
    assert_eq!(from(json!([])), [""]);
}

#[test]
fn ports_are_numbers_ranges_protocols_and_names() {
    let ports = |ports: Value| passing(&json!({"ports": ports}));
    let several = json!([{"protocol": "TCP", "port": 80}, {"port": 81}, {"protocol": "UDP", "port": 53}]);
    assert_eq!(ports(several), ["-p tcp --dport 80", "-p tcp --dport 81", "-p udp --dport 53"]);
    assert_eq!(ports(json!([{"protocol": "TCP", "port": 80, "endPort": 90}])), ["-p tcp --dport 80:90"]);
    assert_eq!(ports(json!([{"protocol": "SCTP"}])), ["-p sctp"]);
    assert_eq!(ports(json!([{"protocol": "TCP", "port": "web"}])), ["-p tcp --dport 80"]);
    assert_eq!(ports(json!([{"protocol": "UDP", "port": "web"}])), [""; 0]);
    assert_eq!(ports(json!([{"protocol": "TCP", "port": "other"}])), [""; 0]);
    assert_eq!(ports(json!([])), [""]);
}

#[test]
fn what_goes_out_is_matched_by_whom_it_goes_to() {
    let peers = json!([{"podSelector": {"matchLabels": {"app": "b"}}}]);
    let ports = json!([{"protocol": "TCP", "port": "web"}]);
    let policy = json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"],
        "egress": [{"to": peers, "ports": ports}, {"ports": [{"protocol": "UDP", "port": 53}]}]});
    let wanted = [
        "-A WEFT-OUT -s 10.0.1.1/32 -d 10.0.2.1/32 -p tcp --dport 8080 -j RETURN",
        "-A WEFT-OUT -s 10.0.1.1/32 -p udp --dport 53 -j RETURN",
        "-A WEFT-OUT -s 10.0.1.1/32 -j WEFT-DENIED",
    ];
    assert_eq!(rules(&[policy]), wanted);
}

#[test]
fn policies_add_up_and_one_deny_comes_last() {
    let one = |port: u16| {
        let ports = json!([{"protocol": "TCP", "port": port}]);
        json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Ingress"], "ingress": [{"ports": ports}]})
    };
    let wanted = [
        "-A WEFT-IN -d 10.0.1.1/32 -p tcp --dport 1 -j RETURN",
        "-A WEFT-IN -d 10.0.1.1/32 -p tcp --dport 2 -j RETURN",
        "-A WEFT-IN -d 10.0.1.1/32 -j WEFT-DENIED",
    ];
    assert_eq!(rules(&[one(2), one(1)]), wanted);
}

#[test]
fn pods_without_an_address_of_their_own_are_left_out() {
    let deny = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
    let mut objects = objects(&[deny]);
    let mut change = |at: usize, change: fn(&mut Pod)| change(Arc::make_mut(&mut objects.pods[at]));
    change(0, |pod| pod.status.as_mut().expect("a status").phase = Some("Failed".to_owned()));
    change(1, |pod| pod.spec.as_mut().expect("a spec").host_network = Some(true));
    change(2, |pod| pod.status.as_mut().expect("a status").pod_ip = None);
    assert_eq!(translate(&objects), BTreeMap::new());
}

/// It was another pod's, of which the API server doesn't know yet that it is gone.
#[test]
fn an_address_that_two_pods_have_lets_pass_what_either_does() {
    let policy = |app: &str, port: u16| {
        let ports = json!([{"protocol": "TCP", "port": port}]);
        json!({"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"], "ingress": [{"ports": ports}]})
    };
    let mut objects = objects(&[policy("a", 1), policy("b", 2)]);
    let other = Arc::make_mut(&mut objects.pods[1]);
    other.status.as_mut().expect("a status").pod_ip = Some("10.0.1.1".to_owned());
    other.spec.as_mut().expect("a spec").node_name = Some("one".to_owned());
    let lines: Vec<String> = translate(&objects).into_values().flat_map(|rules| rules.lines).collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[0].contains("--dport 1") && lines[1].contains("--dport 2") && lines[2].ends_with(DENIED),
        "{lines:?}"
    );
}
