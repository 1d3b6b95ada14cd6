//! Who gets in: security groups at the endpoints, and what a person is told who does not.
//!
//! Invariant: a rule holds when the request that made or revoked it is answered.
//!
//! Not here: the records of networks (`tanist-aws`), turning clients away (`tanist-proxy`).

use std::net::{IpAddr, SocketAddr, UdpSocket};

use tanist_lab::{Installation, skip};
use tanist_link::api::GroupStatus;
use tanist_resp::{Connection, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::aws::Aws;
use crate::{call, runtime};

crate::on_both_engines!(
    a_rule_lets_in_and_its_revocation_ends_what_it_had_let_in,
    an_instance_of_a_source_group_is_let_in_by_its_address,
    strangers_are_named_by_the_doctor,
);

impl Aws {
    /// A VPC with a subnet in each of two zones: its id, a subnet's id, and a security group's.
    async fn network(&self) -> (String, String, String) {
        let vpc = id(&self.ec2("CreateVpc", &[("CidrBlock", "10.0.0.0/16")]).await, "vpcId");
        let mut subnets = Vec::new();
        for (zone, cidr) in [("us-east-1a", "10.0.11.0/24"), ("us-east-1b", "10.0.12.0/24")] {
            let made = [("VpcId", vpc.as_str()), ("AvailabilityZone", zone), ("CidrBlock", cidr)];
            subnets.push(id(&self.ec2("CreateSubnet", &made).await, "subnetId"));
        }
        let group = self.security_group(&vpc, "redis").await;
        let named = [
            ("CacheSubnetGroupName", "doors"),
            ("CacheSubnetGroupDescription", "doors"),
            ("SubnetIds.SubnetIdentifier.1", subnets[0].as_str()),
            ("SubnetIds.SubnetIdentifier.2", subnets[1].as_str()),
        ];
        self.cache("CreateCacheSubnetGroup", &named).await;
        (vpc, subnets.remove(0), group)
    }

    async fn security_group(&self, vpc: &str, name: &str) -> String {
        let asked = [("VpcId", vpc), ("GroupName", name), ("GroupDescription", name)];
        id(&self.ec2("CreateSecurityGroup", &asked).await, "groupId")
    }

    /// Changes the rule of a group for the endpoints' port.
    async fn rule(&self, action: &str, group: &str, peer: (&str, &str)) {
        let asked = [
            ("GroupId", group),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "6379"),
            ("IpPermissions.1.ToPort", "6379"),
            peer,
        ];
        self.ec2(action, &asked).await;
    }

    async fn replication_group(&self, engine: &str, group: &str) {
        let asked = [
            ("ReplicationGroupId", "web"),
            ("ReplicationGroupDescription", "doors"),
            ("Engine", engine),
            ("CacheNodeType", "cache.t3.micro"),
            ("NumCacheClusters", "2"),
            ("AutomaticFailoverEnabled", "true"),
            ("CacheSubnetGroupName", "doors"),
            ("SecurityGroupIds.SecurityGroupId.1", group),
        ];
        self.cache("CreateReplicationGroup", &asked).await;
    }
}

const CIDR: &str = "IpPermissions.1.IpRanges.1.CidrIp";
const SOURCE: &str = "IpPermissions.1.Groups.1.GroupId";

/// The text of an answer's first element of a name.
fn id(xml: &str, name: &str) -> String {
    let found = xml.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once('<'));
    found.unwrap_or_else(|| panic!("no {name} in {xml}")).0.to_owned()
}

fn primary(group: &GroupStatus) -> SocketAddr {
    SocketAddr::from((group.primary_endpoint.address, group.primary_endpoint.port))
}

/// What a client from `source` is answered to PING; nothing if it is turned away.
async fn ping(source: IpAddr, to: SocketAddr) -> String {
    let socket = TcpSocket::new_v4().unwrap_or_else(|err| panic!("a socket: {err}"));
    socket.bind((source, 0).into()).unwrap_or_else(|err| panic!("{source}: {err}"));
    let mut stream =
        socket.connect(to).await.unwrap_or_else(|err| panic!("{source} to {to}: {err}"));
    let mut answer = vec![0; 64];
    // A connection that was closed meanwhile may say so at any step.
    if stream.write_all(b"PING\r\n").await.is_err() {
        return String::new();
    }
    let length = stream.read(&mut answer).await.unwrap_or(0);
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

/// An address of this machine that is not a loopback one.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    // Nothing is sent: the kernel only chooses the source.
    socket.connect(("198.51.100.1", 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

fn loopback() -> IpAddr {
    IpAddr::from([127, 0, 0, 1])
}

async fn still_open(connection: &mut Connection) -> bool {
    let ping = tanist_resp::Command::new("PING");
    let answer = connection.call(&ping, std::time::Duration::from_secs(20)).await;
    matches!(answer, Ok(Value::Simple(_)))
}

fn a_rule_lets_in_and_its_revocation_ends_what_it_had_let_in(engine: &str) {
    let installation = Installation::start();
    runtime().block_on(async {
        let aws = Aws::of(&installation);
        let (_, _, group) = aws.network().await;
        aws.replication_group(engine, &group).await;
        let web = primary(&installation.available("web"));
        assert_eq!(ping(loopback(), web).await, "", "{engine}: no rule, nobody");
        aws.rule("AuthorizeSecurityGroupIngress", &group, (CIDR, "10.0.0.0/16")).await;
        let mut client = installation.connect(&installation.group("web").primary_endpoint).await;
        assert!(call(&mut client, &["SET", "k", "v"]).await.is_ok(), "{engine}");
        aws.rule("RevokeSecurityGroupIngress", &group, (CIDR, "10.0.0.0/16")).await;
        assert_eq!(ping(loopback(), web).await, "", "{engine}");
        assert!(!still_open(&mut client).await, "{engine}: an open connection outlives its rule");
        // Networks that this machine's clients cannot be in.
        aws.rule("AuthorizeSecurityGroupIngress", &group, (CIDR, "192.168.0.0/16")).await;
        assert_eq!(ping(loopback(), web).await, "", "{engine}");
    });
}

fn an_instance_of_a_source_group_is_let_in_by_its_address(engine: &str) {
    let installation = Installation::start();
    let outer = outer_address();
    runtime().block_on(async {
        let aws = Aws::of(&installation);
        let (vpc, subnet, group) = aws.network().await;
        let clients = aws.security_group(&vpc, "clients").await;
        aws.rule("AuthorizeSecurityGroupIngress", &group, (SOURCE, &clients)).await;
        aws.replication_group(engine, &group).await;
        let web = primary(&installation.available("web"));
        assert_eq!(ping(loopback(), web).await, "", "{engine}: the group has no instance");
        let launch = [
            ("ImageId", "ami-12345678"),
            ("InstanceType", "t2.micro"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("SubnetId", subnet.as_str()),
            ("SecurityGroupId.1", clients.as_str()),
        ];
        let instance = id(&aws.ec2("RunInstances", &launch).await, "instanceId");
        assert_eq!(ping(loopback(), web).await, "+PONG\r\n", "{engine}");
        aws.ec2("TerminateInstances", &[("InstanceId.1", instance.as_str())]).await;
        assert_eq!(ping(loopback(), web).await, "", "{engine}: its instance is gone");
        let Some(outer) = outer else {
            return skip("this machine has no address but loopback");
        };
        assert_eq!(ping(outer, web).await, "", "{engine}");
        let network = format!("{outer}/32");
        aws.rule("AuthorizeSecurityGroupIngress", &group, (CIDR, &network)).await;
        assert_eq!(ping(outer, web).await, "+PONG\r\n", "{engine}");
        assert_eq!(ping(loopback(), web).await, "", "{engine}: another machine's rule");
    });
}

fn strangers_are_named_by_the_doctor(engine: &str) {
    let mut installation = Installation::empty();
    let config = installation.dir().join("tanist.toml");
    std::fs::write(&config, "[clients]\nloopback = \"outside\"\n")
        .unwrap_or_else(|err| panic!("{err}"));
    installation.dev_with(&["--config", &config.to_string_lossy()]);
    runtime().block_on(async {
        let aws = Aws::of(&installation);
        let (_, _, group) = aws.network().await;
        aws.rule("AuthorizeSecurityGroupIngress", &group, (CIDR, "10.0.0.0/16")).await;
        aws.replication_group(engine, &group).await;
        let web = primary(&installation.available("web"));
        assert_eq!(ping(loopback(), web).await, "", "{engine}");
    });
    let said = installation.wait("it is counted", |installation| {
        let ran = installation.tanist(&["doctor"]);
        ran.out.contains("turned away").then_some(ran)
    });
    assert_eq!(said.code, 3, "{}", said.out);
    for part in ["127.0.0.1", "authorize-security-group-ingress", "no answer from"] {
        assert!(said.out.contains(part), "{engine}: {part}: {}", said.out);
    }
}
