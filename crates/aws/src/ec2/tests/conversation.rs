//! The networks of a whole exercise, asked for by botocore and read by botocore.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use http::{HeaderMap, HeaderName};
use serde_json::json;

use super::*;
use crate::request::Request;
use crate::wire::{Reply, decode, encode_error};

struct Client {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    desk: Desk,
}

fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let has_botocore = |python: &PathBuf| {
        let import = Command::new(python).args(["-c", "import botocore"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    let candidates = [root.join(".venv/bin/python"), PathBuf::from("python3")];
    let found = candidates.into_iter().find(has_botocore);
    found.expect("no Python here has botocore; run scripts/install.sh test")
}

impl Client {
    fn new() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/converse.py");
        let mut process = Command::new(python())
            .arg(script)
            .arg("ec2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = process.stdin.take().unwrap();
        let from = BufReader::new(process.stdout.take().unwrap());
        Self { process, to, from, desk: Desk::new() }
    }

    fn ask_botocore(&mut self, told: &Json) -> Json {
        writeln!(self.to, "{told}").unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{told}: {error} in {line:?}"))
    }

    /// The whole way: botocore's bytes, the operation, and botocore again.
    fn call(&mut self, operation: &str, params: Json) -> Json {
        let sent = self.ask_botocore(&json!({"operation": operation, "params": params}));
        let mut headers = HeaderMap::new();
        for (name, value) in sent["headers"].as_object().unwrap() {
            let name: HeaderName = name.parse().unwrap();
            headers.insert(name, value.as_str().unwrap().parse().unwrap());
        }
        let body = hex::decode(sent["body"].as_str().unwrap()).unwrap();
        let request =
            Request { method: "POST", path: "/", query: "", headers: &headers, body: &body };
        let service = &Models::load().unwrap().ec2;
        let call = decode(Protocol::Ec2, service, &request).unwrap();
        let reply = match self.desk.carry(operation, call.input) {
            Ok(answer) => encode(Protocol::Ec2, service, call.operation, &answer, "id").unwrap(),
            Err(error) => encode_error(Protocol::Ec2, Some(service), &error, "id").unwrap(),
        };
        let Reply { status, headers, body } = reply;
        let headers: Map<String, Json> =
            headers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        self.ask_botocore(&json!({
            "operation": operation, "status": status, "headers": headers, "body": hex::encode(body),
        }))
    }

    fn text(&mut self, operation: &str, params: Json, pointer: &str) -> String {
        let answer = self.call(operation, params);
        let found = answer.pointer(pointer).and_then(Json::as_str);
        found.unwrap_or_else(|| panic!("{pointer} in {answer}")).to_owned()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Ids of what a client made.
struct Network {
    vpc: String,
    subnet: String,
    gateway: String,
    table: String,
    association: String,
    group: String,
}

fn network(client: &mut Client) -> Network {
    let vpc = client.text("CreateVpc", json!({"CidrBlock": "10.0.0.0/16"}), "/Vpc/VpcId");
    let input = json!({"VpcId": vpc, "EnableDnsHostnames": {"Value": true}});
    client.call("ModifyVpcAttribute", input);
    let tags = json!([{"ResourceType": "subnet", "Tags": [{"Key": "Name", "Value": "ä & <b>"}]}]);
    let input = json!({
        "VpcId": vpc, "CidrBlock": "10.0.1.0/24", "AvailabilityZone": "us-east-1a",
        "TagSpecifications": tags,
    });
    let subnet = client.text("CreateSubnet", input, "/Subnet/SubnetId");
    let gateway =
        client.text("CreateInternetGateway", json!({}), "/InternetGateway/InternetGatewayId");
    client.call("AttachInternetGateway", json!({"InternetGatewayId": gateway, "VpcId": vpc}));
    let table = client.text("CreateRouteTable", json!({"VpcId": vpc}), "/RouteTable/RouteTableId");
    let input =
        json!({"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway});
    assert_eq!(client.call("CreateRoute", input)["Return"], true);
    let input = json!({"RouteTableId": table, "SubnetId": subnet});
    let association = client.text("AssociateRouteTable", input, "/AssociationId");
    let input = json!({"GroupName": "redis", "Description": "Redis", "VpcId": vpc});
    let group = client.text("CreateSecurityGroup", input, "/GroupId");
    Network { vpc, subnet, gateway, table, association, group }
}

fn take_away(client: &mut Client, network: &Network) {
    let Network { vpc, subnet, gateway, table, association, group } = network;
    let steps = [
        ("DisassociateRouteTable", json!({"AssociationId": association})),
        ("DeleteRouteTable", json!({"RouteTableId": table})),
        ("DetachInternetGateway", json!({"InternetGatewayId": gateway, "VpcId": vpc})),
        ("DeleteInternetGateway", json!({"InternetGatewayId": gateway})),
        ("DeleteSecurityGroup", json!({"GroupId": group})),
        ("DeleteSubnet", json!({"SubnetId": subnet})),
        ("DeleteVpc", json!({"VpcId": vpc})),
        ("DeleteKeyPair", json!({"KeyName": "MyKeyPair"})),
    ];
    for (operation, params) in steps {
        let answer = client.call(operation, params);
        assert!(answer.get("Error").is_none(), "{operation}: {answer}");
    }
    let gone = client.call("DescribeVpcs", json!({"VpcIds": [vpc]}));
    assert_eq!(gone["Error"]["Code"], "InvalidVpcID.NotFound");
}

#[test]
fn botocore_makes_a_network_with_instances_and_takes_it_away() {
    let mut client = Client::new();
    let network = network(&mut client);
    let (subnet, group) = (&network.subnet, &network.group);
    let rule = |port: u16| {
        json!({"IpProtocol": "tcp", "FromPort": port, "ToPort": port,
            "IpRanges": [{"CidrIp": "10.0.0.0/16", "Description": "VPC"}]})
    };
    let input = json!({"GroupId": group, "IpPermissions": [rule(6379), rule(16379)]});
    let rules = client.call("AuthorizeSecurityGroupIngress", input.clone());
    assert_eq!(rules["SecurityGroupRules"].as_array().unwrap().len(), 2);
    let refused = client.call("AuthorizeSecurityGroupIngress", input);
    assert_eq!(refused["Error"]["Code"], "InvalidPermission.Duplicate");
    let key = client.text("CreateKeyPair", json!({"KeyName": "MyKeyPair"}), "/KeyMaterial");
    assert!(key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    let input = json!({
        "ImageId": "ami-01811d4912b4ccb26", "MinCount": 3, "MaxCount": 3, "KeyName": "MyKeyPair",
        "InstanceType": "t2.micro", "ClientToken": "c", "NetworkInterfaces": [{"DeviceIndex": 0,
            "SubnetId": subnet, "Groups": [group], "AssociatePublicIpAddress": true}],
    });
    let made = client.call("RunInstances", input);
    let instances = made["Instances"].as_array().unwrap().iter();
    let instances: Vec<&Json> = instances.map(|instance| &instance["InstanceId"]).collect();
    let running = json!({"Filters": [
        {"Name": "instance-state-name", "Values": ["running"]},
        {"Name": "subnet-id", "Values": [subnet]},
    ]});
    let found = client.call("DescribeInstances", running);
    let found = found["Reservations"][0]["Instances"].as_array().unwrap();
    assert_eq!(found.len(), 3);
    assert!(found[0]["PublicDnsName"].as_str().unwrap().ends_with(".compute-1.amazonaws.com"));
    let shown = client.call("DescribeSubnets", json!({"SubnetIds": [subnet]}));
    assert_eq!(shown["Subnets"][0]["Tags"][0]["Value"], "ä & <b>");
    assert_eq!(shown["Subnets"][0]["AvailableIpAddressCount"], 248);
    let busy = client.call("DeleteSecurityGroup", json!({"GroupId": group}));
    assert_eq!(busy["Error"]["Code"], "DependencyViolation");
    let kept = json!({"InstanceId": instances[0], "DisableApiTermination": {"Value": true}});
    client.call("ModifyInstanceAttribute", kept);
    let end = json!({"InstanceIds": instances});
    let refused = client.call("TerminateInstances", end.clone());
    assert_eq!(refused["Error"]["Code"], "OperationNotPermitted");
    let free = json!({"InstanceId": instances[0], "DisableApiTermination": {"Value": false}});
    client.call("ModifyInstanceAttribute", free);
    client.call("TerminateInstances", end);
    take_away(&mut client, &network);
}

#[test]
fn botocore_reads_what_a_region_begins_with() {
    let mut client = Client::new();
    let everything = [
        ("DescribeVpcs", "Vpcs", 1),
        ("DescribeSubnets", "Subnets", 3),
        ("DescribeRouteTables", "RouteTables", 1),
        ("DescribeInternetGateways", "InternetGateways", 1),
        ("DescribeNetworkAcls", "NetworkAcls", 1),
        ("DescribeSecurityGroups", "SecurityGroups", 1),
        ("DescribeSecurityGroupRules", "SecurityGroupRules", 2),
        ("DescribeInstances", "Reservations", 0),
        ("DescribeVolumes", "Volumes", 0),
        ("DescribeNetworkInterfaces", "NetworkInterfaces", 0),
        ("DescribeKeyPairs", "KeyPairs", 0),
        ("DescribeTags", "Tags", 0),
        ("DescribeRegions", "Regions", 2),
        ("DescribeAvailabilityZones", "AvailabilityZones", 3),
        ("DescribeAccountAttributes", "AccountAttributes", 2),
    ];
    for (operation, list, count) in everything {
        let answer = client.call(operation, json!({}));
        assert_eq!(answer[list].as_array().unwrap().len(), count, "{operation} {answer}");
    }
    let kinds = client.call("DescribeInstanceTypes", json!({"InstanceTypes": ["t2.micro"]}));
    assert_eq!(kinds["InstanceTypes"][0]["MemoryInfo"]["SizeInMiB"], 1024);
}
