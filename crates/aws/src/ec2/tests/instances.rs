//! Instances, their devices and types, key pairs.

use serde_json::json;

use super::*;

const IMAGE: &str = "ami-01811d4912b4ccb26";

fn run(more: Json) -> Json {
    let mut input = json!({
        "ImageId": IMAGE, "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.micro",
    });
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    input
}

fn described(desk: &mut Desk, id: &str) -> Json {
    let answer = desk.ok("DescribeInstances", json!({"InstanceIds": [id]}));
    answer["Reservations"][0]["Instances"][0].clone()
}

#[test]
fn an_instance_is_pending_then_running_then_terminated_then_forgotten() {
    let mut desk = Desk::new();
    let tags = |kind: &str| json!({"ResourceType": kind, "Tags": [{"Key": "Name", "Value": kind}]});
    let more = json!({"TagSpecifications": [tags("instance"), tags("volume")]});
    let answer = desk.ok("RunInstances", run(more));
    let instance = &answer["Instances"][0];
    let id = instance["InstanceId"].as_str().unwrap().to_owned();
    assert_eq!(instance["State"], json!({"Code": 0, "Name": "pending"}));
    let shown = described(&mut desk, &id);
    assert_eq!(shown["State"], json!({"Code": 16, "Name": "running"}));
    assert_eq!(shown["Tags"], json!([{"Key": "Name", "Value": "instance"}]));
    assert_eq!(shown["PrivateIpAddress"], "172.31.0.4");
    assert_eq!(shown["PrivateDnsName"], "ip-172-31-0-4.ec2.internal");
    // Default subnets give public addresses; this one is kept for benchmarks and leads nowhere.
    assert!(shown["PublicIpAddress"].as_str().unwrap().starts_with("198.1"));
    assert_eq!(shown["SecurityGroups"][0]["GroupName"], "default");
    assert_eq!(shown["CpuOptions"], json!({"CoreCount": 1, "ThreadsPerCore": 2}));
    let volumes = json!({"Filters": [{"Name": "attachment.instance-id", "Values": [id]}]});
    let volume = desk.ok("DescribeVolumes", volumes.clone())["Volumes"][0].clone();
    assert_eq!((&volume["VolumeType"], &volume["Size"]), (&json!("gp3"), &json!(8)));
    assert_eq!(volume["Tags"], json!([{"Key": "Name", "Value": "volume"}]));
    assert_eq!(shown["BlockDeviceMappings"][0]["Ebs"]["VolumeId"], volume["VolumeId"]);
    let interfaces = desk.ok("DescribeNetworkInterfaces", volumes.clone());
    let interface = &interfaces["NetworkInterfaces"][0];
    assert_eq!(
        interface["NetworkInterfaceId"],
        shown["NetworkInterfaces"][0]["NetworkInterfaceId"]
    );
    let ended = desk.ok("TerminateInstances", json!({"InstanceIds": [id]}));
    let ended = &ended["TerminatingInstances"][0];
    assert_eq!(ended["PreviousState"]["Name"], "running");
    assert_eq!(ended["CurrentState"]["Name"], "shutting-down");
    let shown = described(&mut desk, &id);
    assert_eq!(shown["State"], json!({"Code": 48, "Name": "terminated"}));
    assert!(shown.get("PrivateIpAddress").is_none());
    assert_eq!(desk.ok("DescribeVolumes", volumes)["Volumes"], json!([]));
    desk.now_ms += 3_600_000;
    let (code, text) = desk.refusal("DescribeInstances", json!({"InstanceIds": [id]}));
    assert_eq!(code, "InvalidInstanceID.NotFound");
    assert_eq!(text, format!("The instance ID '{id}' does not exist"));
    desk.ok("RunInstances", run(json!({})));
    assert_eq!((desk.pages.instances.len(), desk.pages.tags.len()), (1, 0));
}

#[test]
fn addresses_are_not_given_twice_and_come_back() {
    let mut desk = Desk::new();
    let vpc = desk.text("CreateVpc", json!({"CidrBlock": "10.0.0.0/16"}), "/Vpc/VpcId");
    let input = json!({"VpcId": vpc, "CidrBlock": "10.0.0.0/28"});
    let subnet = desk.text("CreateSubnet", input, "/Subnet/SubnetId");
    let here = |least: i64, most: i64| {
        run(json!({"SubnetId": subnet, "MinCount": least, "MaxCount": most}))
    };
    let answer = desk.ok("RunInstances", here(1, 25));
    let instances = answer["Instances"].as_array().unwrap();
    let addresses: std::collections::BTreeSet<&str> =
        instances.iter().map(|i| i["PrivateIpAddress"].as_str().unwrap()).collect();
    assert_eq!((instances.len(), addresses.len()), (11, 11));
    assert!(addresses.contains("10.0.0.4") && addresses.contains("10.0.0.14"));
    let code = desk.code("RunInstances", here(1, 1));
    assert_eq!(code, "InsufficientFreeAddressesInSubnet");
    assert_eq!(desk.code("DeleteSubnet", json!({"SubnetId": subnet})), "DependencyViolation");
    let third = instances[2]["InstanceId"].clone();
    let free = instances[2]["PrivateIpAddress"].clone();
    desk.ok("TerminateInstances", json!({"InstanceIds": [third]}));
    let with = |address: &Json| run(json!({"SubnetId": subnet, "PrivateIpAddress": address}));
    let code = desk.code("RunInstances", with(&json!("10.0.0.4")));
    assert_eq!(code, "InvalidIPAddress.InUse");
    for bad in ["10.0.0.1", "10.0.0.15", "10.0.1.9", "x"] {
        assert_eq!(desk.code("RunInstances", with(&json!(bad))), "InvalidParameterValue", "{bad}");
    }
    let again = desk.ok("RunInstances", with(&free));
    assert_eq!(again["Instances"][0]["PrivateIpAddress"], free);
}

#[test]
fn the_interface_of_pulumi_and_terraform_is_understood() {
    let mut desk = Desk::new();
    let vpc = desk.text("CreateVpc", json!({"CidrBlock": "10.0.0.0/16"}), "/Vpc/VpcId");
    let input = json!({"VpcId": vpc, "CidrBlock": "10.0.1.0/24"});
    let subnet = desk.text("CreateSubnet", input, "/Subnet/SubnetId");
    let input = json!({"VpcId": vpc, "GroupName": "redis", "Description": "x"});
    let group = desk.text("CreateSecurityGroup", input, "/GroupId");
    let interface = |public: bool| {
        json!({"NetworkInterfaces": [{"DeviceIndex": 0, "SubnetId": subnet, "Groups": [group],
            "AssociatePublicIpAddress": public, "DeleteOnTermination": true}]})
    };
    let answer = desk.ok("RunInstances", run(interface(true)));
    let shown = &answer["Instances"][0];
    assert!(shown["NetworkInterfaces"][0]["Association"]["PublicIp"].is_string());
    assert_eq!(shown["SecurityGroups"], json!([{"GroupId": group, "GroupName": "redis"}]));
    let answer = desk.ok("RunInstances", run(interface(false)));
    assert!(answer["Instances"][0].get("PublicIpAddress").is_none());
    let mut both = interface(true);
    both["SubnetId"] = json!(subnet);
    assert_eq!(desk.code("RunInstances", run(both)), "InvalidParameterCombination");
    let named = run(json!({"SubnetId": subnet, "SecurityGroups": ["default"]}));
    assert_eq!(desk.code("RunInstances", named), "InvalidParameterCombination");
    let elsewhere = run(json!({"SecurityGroupIds": [group]}));
    assert_eq!(desk.code("RunInstances", elsewhere), "InvalidParameter");
}

#[test]
fn a_repeated_request_makes_nothing_new() {
    let mut desk = Desk::new();
    let input = run(json!({"ClientToken": "token-1", "MinCount": 2, "MaxCount": 2}));
    let one = desk.ok("RunInstances", input.clone());
    assert_eq!(desk.ok("RunInstances", input), one);
    assert_eq!(desk.pages.instances.len(), 2);
    let id = one["ReservationId"].as_str().unwrap();
    let found = json!({"Filters": [{"Name": "reservation-id", "Values": [id]}]});
    let found = desk.ok("DescribeInstances", found);
    assert_eq!(found["Reservations"].as_array().unwrap().len(), 1);
    assert_eq!(found["Reservations"][0]["Instances"].as_array().unwrap().len(), 2);
}

#[test]
fn a_client_token_stands_for_one_request_for_as_long_as_its_instances_are_shown() {
    let mut desk = Desk::new();
    let input = run(json!({"ClientToken": "token-1"}));
    let one = desk.text("RunInstances", input.clone(), "/Instances/0/InstanceId");
    let mut other = input.clone();
    other["InstanceType"] = json!("t3.nano");
    assert_eq!(desk.code("RunInstances", other.clone()), "IdempotentParameterMismatch");
    desk.ok("TerminateInstances", json!({"InstanceIds": [one]}));
    let again = desk.ok("RunInstances", input.clone());
    assert_eq!(again["Instances"][0]["InstanceId"], one);
    assert_eq!(again["Instances"][0]["State"]["Name"], "terminated");
    assert_eq!(desk.code("RunInstances", other.clone()), "IdempotentParameterMismatch");
    desk.now_ms += 3_600_000;
    let later = desk.text("RunInstances", other, "/Instances/0/InstanceId");
    assert_ne!(later, one);
    let long = run(json!({"ClientToken": "x".repeat(100)}));
    let one = desk.text("RunInstances", long.clone(), "/Instances/0/InstanceId");
    assert_eq!(desk.text("RunInstances", long, "/Instances/0/InstanceId"), one);
}

#[test]
fn what_terraform_reads_of_an_instance_is_there() {
    let mut desk = Desk::new();
    let more = json!({"UserData": "IyEvYmluL3No", "DisableApiTermination": true});
    let id = desk.text("RunInstances", run(more), "/Instances/0/InstanceId");
    let attribute = |desk: &mut Desk, name: &str, member: &str| {
        let input = json!({"InstanceId": id, "Attribute": name});
        desk.ok("DescribeInstanceAttribute", input)[member]["Value"].clone()
    };
    assert_eq!(attribute(&mut desk, "userData", "UserData"), "IyEvYmluL3No");
    assert_eq!(attribute(&mut desk, "disableApiTermination", "DisableApiTermination"), true);
    assert_eq!(attribute(&mut desk, "disableApiStop", "DisableApiStop"), false);
    let behaviour = "InstanceInitiatedShutdownBehavior";
    assert_eq!(attribute(&mut desk, "instanceInitiatedShutdownBehavior", behaviour), "stop");
    let credits = desk.ok("DescribeInstanceCreditSpecifications", json!({"InstanceIds": [id]}));
    let expected = json!([{"InstanceId": id, "CpuCredits": "unlimited"}]);
    assert_eq!(credits["InstanceCreditSpecifications"], expected);
    let kinds = desk.ok("DescribeInstanceTypes", json!({"InstanceTypes": ["t3.micro"]}));
    let kind = &kinds["InstanceTypes"][0];
    assert_eq!(kind["BurstablePerformanceSupported"], true);
    assert_eq!(kind["MemoryInfo"]["SizeInMiB"], 1024);
    let code = desk.code("DescribeInstanceTypes", json!({"InstanceTypes": ["t9.pico"]}));
    assert_eq!(code, "InvalidInstanceType");
    let code = desk.code("TerminateInstances", json!({"InstanceIds": [id]}));
    assert_eq!(code, "OperationNotPermitted");
    let standard = run(json!({"CreditSpecification": {"CpuCredits": "standard"}}));
    let id = desk.text("RunInstances", standard, "/Instances/0/InstanceId");
    let credits = desk.ok("DescribeInstanceCreditSpecifications", json!({"InstanceIds": [id]}));
    assert_eq!(credits["InstanceCreditSpecifications"][0]["CpuCredits"], "standard");
}

#[test]
fn an_instance_that_may_not_be_terminated_can_be_allowed_to() {
    let mut desk = Desk::new();
    let kept = run(json!({"DisableApiTermination": true}));
    let id = desk.text("RunInstances", kept, "/Instances/0/InstanceId");
    let end = json!({"InstanceIds": [id]});
    let change = |more: Json| {
        let mut input = json!({"InstanceId": id});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    desk.ok("ModifyInstanceAttribute", change(json!({"DisableApiStop": {"Value": true}})));
    assert_eq!(desk.code("TerminateInstances", end.clone()), "OperationNotPermitted");
    let allowed = json!({"Attribute": "disableApiTermination", "Value": "false"});
    desk.ok("ModifyInstanceAttribute", change(allowed));
    let kept = json!({"DisableApiTermination": {"Value": true}});
    desk.ok("ModifyInstanceAttribute", change(kept.clone()));
    assert_eq!(desk.code("TerminateInstances", end.clone()), "OperationNotPermitted");
    let allowed = json!({"DisableApiTermination": {"Value": false}});
    desk.ok("ModifyInstanceAttribute", change(allowed.clone()));
    let both = change(json!({"DisableApiTermination": {"Value": true}, "Groups": ["sg-1"]}));
    for (input, code) in [
        (both, "InvalidParameterCombination"),
        (change(json!({})), "InvalidParameterCombination"),
        (change(json!({"Groups": ["sg-1"]})), "InvalidGroup.NotFound"),
        (change(json!({"InstanceType": {"Value": "t3.nano"}})), "UnsupportedOperation"),
        (change(json!({"Attribute": "kernel", "Value": "x"})), "UnsupportedOperation"),
        (json!({"InstanceId": "i-1", "Groups": ["sg-1"]}), "InvalidInstanceID.NotFound"),
    ] {
        assert_eq!(desk.code("ModifyInstanceAttribute", input.clone()), code, "{input}");
    }
    desk.ok("TerminateInstances", end);
    let over = desk.code("ModifyInstanceAttribute", change(allowed));
    assert_eq!(over, "IncorrectInstanceState");
}

#[test]
fn the_groups_of_an_instance_change() {
    let mut desk = Desk::new();
    let vpc = desk.vpc();
    let mut group = |name: &str| {
        let input = json!({"VpcId": vpc, "GroupName": name, "Description": "x"});
        desk.text("CreateSecurityGroup", input, "/GroupId")
    };
    let (one, other) = (group("one"), group("other"));
    let many: Vec<String> = (0..6).map(|number| group(&number.to_string())).collect();
    let id = desk.text("RunInstances", run(json!({})), "/Instances/0/InstanceId");
    let groups = |ids: Json| json!({"InstanceId": id, "Groups": ids});
    desk.ok("ModifyInstanceAttribute", groups(json!([one, other, one])));
    let shown = described(&mut desk, &id)["SecurityGroups"].clone();
    assert_eq!(shown[0]["GroupId"], one);
    assert_eq!((&shown[1]["GroupName"], shown.as_array().unwrap().len()), (&json!("other"), 2));
    let code = desk.code("ModifyInstanceAttribute", groups(json!(many)));
    assert_eq!(code, "SecurityGroupsPerInterfaceLimitExceeded");
    let vpc = desk.text("CreateVpc", json!({"CidrBlock": "10.0.0.0/16"}), "/Vpc/VpcId");
    let input = json!({"VpcId": vpc, "GroupName": "far", "Description": "x"});
    let far = desk.text("CreateSecurityGroup", input, "/GroupId");
    assert_eq!(desk.code("ModifyInstanceAttribute", groups(json!([far]))), "InvalidParameter");
}

#[test]
fn instances_that_cannot_be_are_refused() {
    let mut desk = Desk::new();
    let cases = [
        (json!({"ImageId": "ami-x"}), "InvalidAMIID.Malformed"),
        (json!({"ImageId": ""}), "MissingParameter"),
        (json!({"InstanceType": "t9.pico"}), "InvalidParameterValue"),
        (json!({"SubnetId": "subnet-0"}), "InvalidSubnetID.NotFound"),
        (json!({"SecurityGroupIds": ["sg-0"]}), "InvalidGroup.NotFound"),
        (json!({"KeyName": "nobody"}), "InvalidKeyPair.NotFound"),
        (json!({"MinCount": 0}), "InvalidParameterValue"),
        (json!({"MinCount": 3, "MaxCount": 2}), "InvalidParameterValue"),
        (json!({"MinCount": 1001, "MaxCount": 1001}), "InstanceLimitExceeded"),
        (json!({"UserData": "not base64"}), "InvalidParameterValue"),
        (json!({"UserData": "QUJD".repeat(5500)}), "InvalidParameterValue"),
        (json!({"IamInstanceProfile": {"Name": "x"}}), "UnsupportedOperation"),
        (
            json!({"InstanceType": "m5.large", "CreditSpecification": {"CpuCredits": "standard"}}),
            "InvalidParameterCombination",
        ),
        (
            json!({"TagSpecifications": [{"ResourceType": "vpc", "Tags": []}]}),
            "InvalidParameterValue",
        ),
        (json!({"Placement": {"AvailabilityZone": "us-east-1z"}}), "MissingInput"),
    ];
    for (more, expected) in cases {
        assert_eq!(desk.code("RunInstances", run(more.clone())), expected, "{more}");
    }
    let (code, text) = desk.refusal("TerminateInstances", json!({"InstanceIds": ["i-1", "i-2"]}));
    assert_eq!(code, "InvalidInstanceID.NotFound");
    assert_eq!(text, "The instance IDs 'i-1, i-2' do not exist");
}

#[test]
fn instances_are_found_by_filters() {
    let mut desk = Desk::new();
    let more = json!({"Placement": {"AvailabilityZone": "us-east-1b"}});
    let id = desk.text("RunInstances", run(more), "/Instances/0/InstanceId");
    desk.ok("RunInstances", run(json!({"InstanceType": "t2.micro"})));
    for (name, value, count) in [
        ("instance-state-name", "running", 2),
        ("instance-state-name", "terminated", 0),
        ("availability-zone", "us-east-1b", 1),
        ("instance-type", "t2.*", 1),
        ("instance.group-name", "default", 2),
        ("instance-id", id.as_str(), 1),
        ("vpc-id", "vpc-*", 2),
    ] {
        let input = json!({"Filters": [{"Name": name, "Values": [value]}]});
        let found = desk.ok("DescribeInstances", input);
        assert_eq!(found["Reservations"].as_array().unwrap().len(), count, "{name} {value}");
    }
    let vpc = desk.vpc();
    let gateway = desk.pages.internet_gateways.values().next().unwrap().id.clone();
    let pair = json!({"InternetGatewayId": gateway, "VpcId": vpc});
    assert_eq!(desk.code("DetachInternetGateway", pair), "DependencyViolation");
}

#[test]
fn a_key_pair_is_told_once() {
    let mut desk = Desk::new();
    let made = desk.ok("CreateKeyPair", json!({"KeyName": "MyKeyPair"}));
    assert!(made["KeyMaterial"].as_str().unwrap().starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    let code = desk.code("CreateKeyPair", json!({"KeyName": "MyKeyPair"}));
    assert_eq!(code, "InvalidKeyPair.Duplicate");
    let input = json!({"KeyNames": ["MyKeyPair"], "IncludePublicKey": true});
    let found = desk.ok("DescribeKeyPairs", input)["KeyPairs"][0].clone();
    assert_eq!(found["KeyFingerprint"], made["KeyFingerprint"]);
    assert!(found["PublicKey"].as_str().unwrap().ends_with(" MyKeyPair"));
    assert!(!format!("{:?}", desk.pages).contains("PRIVATE"));
    desk.ok("RunInstances", run(json!({"KeyName": "MyKeyPair"})));
    desk.ok("DeleteKeyPair", json!({"KeyName": "MyKeyPair"}));
    desk.ok("DeleteKeyPair", json!({"KeyName": "MyKeyPair"}));
    let code = desk.code("DescribeKeyPairs", json!({"KeyNames": ["MyKeyPair"]}));
    assert_eq!(code, "InvalidKeyPair.NotFound");
}
