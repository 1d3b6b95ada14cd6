//! Who may connect, as a table.

use ipnet::Ipv4Net;

use super::*;
use crate::ec2::tests::Desk;
use serde_json::{Value as Json, json};

/// A VPC 10.0.0.0/16 with the groups `redis` and `app`.
struct World {
    desk: Desk,
    redis: String,
    app: String,
    subnet: String,
}

fn world() -> World {
    let mut desk = Desk::new();
    let vpc = desk.text("CreateVpc", json!({"CidrBlock": "10.0.0.0/16"}), "/Vpc/VpcId");
    let input = json!({"VpcId": vpc, "CidrBlock": "10.0.1.0/24"});
    let subnet = desk.text("CreateSubnet", input, "/Subnet/SubnetId");
    let mut group = |name: &str| {
        let input = json!({"VpcId": vpc, "GroupName": name, "Description": name});
        desk.text("CreateSecurityGroup", input, "/GroupId")
    };
    let (redis, app) = (group("redis"), group("app"));
    World { desk, redis, app, subnet }
}

impl World {
    fn allow(&mut self, permission: Json) {
        let input = json!({"GroupId": self.redis, "IpPermissions": [permission]});
        self.desk.ok("AuthorizeSecurityGroupIngress", input);
    }

    fn run(&mut self, group: &str) -> (String, String) {
        let input = json!({"ImageId": "ami-11111111", "MinCount": 1, "MaxCount": 1,
            "InstanceType": "t3.micro", "SubnetId": self.subnet, "SecurityGroupIds": [group]});
        let answer = self.desk.ok("RunInstances", input);
        let text = |name: &str| answer["Instances"][0][name].as_str().unwrap().to_owned();
        (text("InstanceId"), text("PrivateIpAddress"))
    }

    /// Sources, and whether loopback is admitted with the setting inside and outside.
    fn seen(&self) -> (Vec<String>, bool, bool) {
        let groups = std::slice::from_ref(&self.redis);
        let told = |inside| admitted(&self.desk.pages, groups, 6379, inside).unwrap();
        let (Access::Only { sources, loopback: inside }, Access::Only { loopback: outside, .. }) =
            (told(true), told(false))
        else {
            panic!("a security group never admits everyone")
        };
        (sources.iter().map(ToString::to_string).collect(), inside, outside)
    }
}

fn tcp(from: u16, to: u16, cidr: &str) -> Json {
    let v6 = cidr.contains(':');
    let (list, name) = if v6 { ("Ipv6Ranges", "CidrIpv6") } else { ("IpRanges", "CidrIp") };
    json!({"IpProtocol": "tcp", "FromPort": from, "ToPort": to, list: [{name: cidr}]})
}

#[test]
fn rules_for_networks() {
    let all = json!({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]});
    let udp = json!({"IpProtocol": "udp", "FromPort": 0, "ToPort": 65535,
        "IpRanges": [{"CidrIp": "0.0.0.0/0"}]});
    // The rules, the networks admitted, loopback inside, loopback outside.
    let cases: [(Vec<Json>, &[&str], bool, bool); 12] = [
        (vec![], &[], false, false),
        (vec![tcp(6379, 6379, "10.0.0.0/16")], &["10.0.0.0/16"], true, false),
        (vec![tcp(6000, 7000, "10.0.3.0/24")], &["10.0.3.0/24"], true, false),
        (vec![tcp(6379, 6379, "10.0.0.0/8")], &["10.0.0.0/8"], true, false),
        (vec![tcp(6379, 6379, "192.0.2.0/24")], &["192.0.2.0/24"], false, false),
        (vec![tcp(6379, 6379, "0.0.0.0/0")], &["0.0.0.0/0"], true, true),
        (vec![tcp(6379, 6379, "127.0.0.0/8")], &["127.0.0.0/8"], false, true),
        (vec![tcp(6380, 6380, "10.0.0.0/16")], &[], false, false),
        (vec![all], &["0.0.0.0/0"], true, true),
        (vec![udp], &[], false, false),
        (vec![tcp(6379, 6379, "::/0")], &["::/0"], false, false),
        (
            vec![tcp(6379, 6379, "10.0.1.0/24"), tcp(0, 65535, "10.0.0.0/24")],
            &["10.0.0.0/23"],
            true,
            false,
        ),
    ];
    for (rules, sources, inside, outside) in cases {
        let mut world = world();
        rules.iter().for_each(|rule| world.allow(rule.clone()));
        let sources = sources.iter().map(|source| (*source).to_owned()).collect();
        assert_eq!(world.seen(), (sources, inside, outside), "{rules:?}");
    }
}

#[test]
fn a_source_group_stands_for_its_running_instances() {
    let mut world = world();
    let pair = json!([{"GroupId": world.app}]);
    let rule = json!({"IpProtocol": "tcp", "FromPort": 6379, "ToPort": 6379,
        "UserIdGroupPairs": pair});
    world.allow(rule);
    assert_eq!(world.seen(), (vec![], false, false));
    let app = world.app.clone();
    let (id, address) = world.run(&app);
    assert_eq!(world.seen(), (vec![format!("{address}/32")], true, false));
    world.desk.ok("TerminateInstances", json!({"InstanceIds": [id]}));
    assert_eq!(world.seen(), (vec![], false, false));
}

#[test]
fn the_default_group_admits_its_own_members() {
    let world = world();
    let vpc = world.desk.vpc();
    let pages = &world.desk.pages;
    let default = pages.security_groups.values().find(|group| group.vpc == vpc).unwrap();
    let told = |inside| admitted(pages, std::slice::from_ref(&default.id), 6379, inside);
    let only = |loopback| Some(Access::Only { sources: Vec::new(), loopback });
    assert_eq!(told(true), only(true));
    assert_eq!(told(false), only(false));
}

#[test]
fn groups_add_up_and_none_says_nothing() {
    let mut world = world();
    world.allow(tcp(6379, 6379, "10.0.0.0/16"));
    let pages = &world.desk.pages;
    let both = [world.app.clone(), world.redis.clone(), "sg-gone".to_owned()];
    let sources = vec![IpNet::V4("10.0.0.0/16".parse::<Ipv4Net>().unwrap())];
    let expected = Access::Only { sources, loopback: true };
    assert_eq!(admitted(pages, &both, 6379, true), Some(expected));
    let nobody = Access::Only { sources: Vec::new(), loopback: false };
    assert_eq!(admitted(pages, &both[..1], 6379, true), Some(nobody.clone()));
    assert_eq!(admitted(pages, &both[2..], 6379, true), Some(nobody));
    assert_eq!(admitted(pages, &[], 6379, true), None);
}
