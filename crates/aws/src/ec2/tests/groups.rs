//! Security groups and their rules.

use serde_json::json;

use super::*;

fn group(desk: &mut Desk, name: &str) -> String {
    let input = json!({"GroupName": name, "Description": "for tests"});
    desk.text("CreateSecurityGroup", input, "/GroupId")
}

fn tcp(port: u16, cidr: &str) -> Json {
    let ranges = json!([{"CidrIp": cidr}]);
    json!([{"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": ranges}])
}

fn described(desk: &mut Desk, id: &str) -> Json {
    desk.ok("DescribeSecurityGroups", json!({"GroupIds": [id]}))["SecurityGroups"][0].clone()
}

#[test]
fn a_new_group_lets_everything_out_and_nothing_in() {
    let mut desk = Desk::new();
    let id = group(&mut desk, "redis");
    let shown = described(&mut desk, &id);
    assert_eq!(shown["VpcId"], desk.vpc());
    assert_eq!(shown["IpPermissions"], json!([]));
    let out = json!([{
        "IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": [],
        "PrefixListIds": [], "UserIdGroupPairs": [],
    }]);
    assert_eq!(shown["IpPermissionsEgress"], out);
    // Terraform takes that rule away, first over IPv4, then over IPv6 where it is not there.
    let all = |range: Json| json!({"GroupId": id, "IpPermissions": [range]});
    let v4 = json!({"IpProtocol": "-1", "FromPort": 0, "ToPort": 0, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]});
    let v6 = json!({"IpProtocol": "-1", "FromPort": 0, "ToPort": 0, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]});
    desk.ok("RevokeSecurityGroupEgress", all(v4));
    let code = desk.code("RevokeSecurityGroupEgress", all(v6));
    assert_eq!(code, "InvalidPermission.NotFound");
    assert_eq!(described(&mut desk, &id)["IpPermissionsEgress"], json!([]));
}

#[test]
fn names_are_unique_within_a_vpc_and_well_formed() {
    let mut desk = Desk::new();
    group(&mut desk, "redis");
    let mut make = |name: &str, description: &str, vpc: &str| {
        let input = json!({"GroupName": name, "Description": description, "VpcId": vpc});
        desk.refusal("CreateSecurityGroup", input)
    };
    let (code, text) = make("redis", "x", "");
    assert_eq!(code, "InvalidGroup.Duplicate");
    assert!(text.starts_with("The security group 'redis' already exists for VPC 'vpc-"));
    assert_eq!(make("sg-1", "x", "").0, "InvalidParameterValue");
    assert_eq!(make("default", "x", "").0, "InvalidParameterValue");
    assert_eq!(make("ok", "päth", "").0, "InvalidParameterValue");
    assert_eq!(make(&"x".repeat(256), "x", "").0, "InvalidParameterValue");
    assert_eq!(make("ok", "x", "vpc-0").0, "InvalidVpcID.NotFound");
    let vpc = desk.text("CreateVpc", json!({"CidrBlock": "10.0.0.0/16"}), "/Vpc/VpcId");
    let input = json!({"GroupName": "redis", "Description": "x", "VpcId": vpc});
    desk.ok("CreateSecurityGroup", input);
}

#[test]
fn rules_of_every_kind_are_shown_as_they_came() {
    let mut desk = Desk::new();
    let (id, peer) = (group(&mut desk, "redis"), group(&mut desk, "app"));
    let permissions = json!([{
        "IpProtocol": "TCP", "FromPort": 6379, "ToPort": 6380,
        "IpRanges": [{"CidrIp": "10.0.0.1/16", "Description": "the VPC"}, {"CidrIp": "1.2.3.4/32"}],
        "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}],
        "UserIdGroupPairs": [{"GroupId": peer}],
    }, {
        "IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
    }]);
    let tags =
        json!([{"ResourceType": "security-group-rule", "Tags": [{"Key": "k", "Value": "v"}]}]);
    let input = json!({"GroupId": id, "IpPermissions": permissions, "TagSpecifications": tags});
    let answer = desk.ok("AuthorizeSecurityGroupIngress", input);
    assert_eq!(answer["SecurityGroupRules"].as_array().unwrap().len(), 5);
    let first = &answer["SecurityGroupRules"][0];
    assert_eq!(first["CidrIpv4"], "10.0.0.0/16");
    assert_eq!((&first["IpProtocol"], &first["ToPort"]), (&json!("tcp"), &json!(6380)));
    assert_eq!((&first["Description"], &first["IsEgress"]), (&json!("the VPC"), &json!(false)));
    assert_eq!(answer["SecurityGroupRules"][3]["ReferencedGroupInfo"]["GroupId"], peer);
    let shown = described(&mut desk, &id)["IpPermissions"].clone();
    assert_eq!(shown.as_array().unwrap().len(), 2);
    assert_eq!(shown[0]["IpRanges"].as_array().unwrap().len(), 2);
    assert_eq!(shown[0]["UserIdGroupPairs"], json!([{"GroupId": peer, "UserId": ACCOUNT}]));
    let rules = desk.ok(
        "DescribeSecurityGroupRules",
        json!({"Filters": [
            {"Name": "group-id", "Values": [id]}, {"Name": "tag:k", "Values": ["v"]},
        ]}),
    );
    assert_eq!(rules["SecurityGroupRules"].as_array().unwrap().len(), 5);
    let rule = first["SecurityGroupRuleId"].as_str().unwrap();
    let one = desk.ok("DescribeSecurityGroupRules", json!({"SecurityGroupRuleIds": [rule]}));
    assert_eq!(one["SecurityGroupRules"][0], *first);
}

#[test]
fn the_short_form_of_the_command_line_is_a_rule_too() {
    let mut desk = Desk::new();
    let id = group(&mut desk, "redis");
    let input = json!({
        "GroupId": id, "IpProtocol": "tcp", "FromPort": 6379, "ToPort": 6379, "CidrIp": "10.0.0.0/16",
    });
    desk.ok("AuthorizeSecurityGroupIngress", input.clone());
    let (code, text) = desk.refusal("AuthorizeSecurityGroupIngress", input.clone());
    assert_eq!(code, "InvalidPermission.Duplicate");
    let expected = "the specified rule \"peer: 10.0.0.0/16, TCP, from port: 6379, to port: 6379, \
                    ALLOW\" already exists";
    assert_eq!(text, expected);
    let by_name = json!({"GroupName": "redis", "SourceSecurityGroupName": "default"});
    desk.ok("AuthorizeSecurityGroupIngress", by_name);
    let answer = desk.ok("RevokeSecurityGroupIngress", input.clone());
    assert_eq!(answer["RevokedSecurityGroupRules"][0]["CidrIpv4"], "10.0.0.0/16");
    let code = desk.code("RevokeSecurityGroupIngress", input);
    assert_eq!(code, "InvalidPermission.NotFound");
}

#[test]
fn a_rule_is_taken_or_changed_by_its_id() {
    let mut desk = Desk::new();
    let id = group(&mut desk, "redis");
    let input = json!({"GroupId": id, "IpPermissions": tcp(6379, "10.0.0.0/16")});
    let pointer = "/SecurityGroupRules/0/SecurityGroupRuleId";
    let rule = desk.text("AuthorizeSecurityGroupIngress", input, pointer);
    let input = json!({"GroupId": id, "IpPermissions": tcp(6379, "10.1.0.0/16")});
    desk.ok("AuthorizeSecurityGroupIngress", input);
    desk.ok("CreateTags", json!({"Resources": [rule], "Tags": [{"Key": "k", "Value": "v"}]}));
    let change = |cidr: &str| {
        let new = json!({
            "IpProtocol": "tcp", "FromPort": 6379, "ToPort": 6379, "CidrIpv4": cidr,
            "Description": "new",
        });
        let updates = json!([{"SecurityGroupRuleId": rule, "SecurityGroupRule": new}]);
        json!({"GroupId": id, "SecurityGroupRules": updates})
    };
    let code = desk.code("ModifySecurityGroupRules", change("10.1.0.0/16"));
    assert_eq!(code, "InvalidPermission.Duplicate");
    desk.ok("ModifySecurityGroupRules", change("10.2.0.0/16"));
    let found = desk.ok("DescribeSecurityGroupRules", json!({"SecurityGroupRuleIds": [rule]}));
    let found = &found["SecurityGroupRules"][0];
    assert_eq!((&found["CidrIpv4"], &found["Description"]), (&json!("10.2.0.0/16"), &json!("new")));
    assert_eq!(found["Tags"], json!([{"Key": "k", "Value": "v"}]));
    let by_id = json!({"GroupId": id, "SecurityGroupRuleIds": [rule]});
    // It is a rule of the other direction.
    let code = desk.code("RevokeSecurityGroupEgress", by_id.clone());
    assert_eq!(code, "InvalidSecurityGroupRuleId.NotFound");
    desk.ok("RevokeSecurityGroupIngress", by_id);
    assert!(desk.pages.tags.get(&rule).is_none());
    let code = desk.code("DescribeSecurityGroupRules", json!({"SecurityGroupRuleIds": [rule]}));
    assert_eq!(code, "InvalidSecurityGroupRuleId.NotFound");
}

#[test]
fn rules_that_cannot_be_are_refused() {
    let mut desk = Desk::new();
    let id = group(&mut desk, "redis");
    let cases = [
        (
            json!([{"IpProtocol": "tcp", "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]),
            "InvalidParameterValue",
        ),
        (
            json!([{"IpProtocol": "tcp", "FromPort": 9, "ToPort": 8, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]),
            "InvalidParameterValue",
        ),
        (
            json!([{"IpProtocol": "tcp", "FromPort": 0, "ToPort": 65536, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]),
            "InvalidParameterValue",
        ),
        (
            json!([{"IpProtocol": "smoke", "FromPort": 1, "ToPort": 1, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]),
            "InvalidParameterValue",
        ),
        (tcp(6379, "10.0.0.0/33"), "InvalidParameterValue"),
        (tcp(6379, "10.0.0.1"), "InvalidParameterValue"),
        (tcp(6379, "::/0"), "InvalidParameterValue"),
        (json!([{"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1}]), "MissingParameter"),
        (json!([]), "MissingParameter"),
        (
            json!([{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-0"}]}]),
            "InvalidGroup.NotFound",
        ),
        (
            json!([{"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-1"}]}]),
            "UnsupportedOperation",
        ),
        (
            json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.0.0.0/8"}, {"CidrIp": "10.1.0.0/8"}]}]),
            "InvalidParameterValue",
        ),
    ];
    for (permissions, expected) in cases {
        let input = json!({"GroupId": id, "IpPermissions": permissions});
        assert_eq!(desk.code("AuthorizeSecurityGroupIngress", input.clone()), expected, "{input}");
    }
    let ranges: Vec<Json> = (0..61).map(|n| json!({"CidrIp": format!("10.{n}.0.0/16")})).collect();
    let all = |ranges: &[Json]| json!({"GroupId": id, "IpPermissions": [{"IpProtocol": "-1", "IpRanges": ranges}]});
    let code = desk.code("AuthorizeSecurityGroupIngress", all(&ranges));
    assert_eq!(code, "RulesPerSecurityGroupLimitExceeded");
    desk.ok("AuthorizeSecurityGroupIngress", all(&ranges[..60]));
    let input = json!({"GroupId": "sg-0", "IpPermissions": tcp(1, "10.0.0.0/8")});
    assert_eq!(desk.code("AuthorizeSecurityGroupIngress", input), "InvalidGroup.NotFound");
}

#[test]
fn a_group_that_is_used_stays() {
    let mut desk = Desk::new();
    let (id, other) = (group(&mut desk, "redis"), group(&mut desk, "app"));
    let delete = json!({"GroupId": id});
    let pair = json!([{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": id}]}]);
    let named = json!({"GroupId": other, "IpPermissions": pair});
    desk.ok("AuthorizeSecurityGroupIngress", named.clone());
    let (code, text) = desk.refusal("DeleteSecurityGroup", delete.clone());
    assert_eq!(code, "DependencyViolation");
    assert_eq!(text, format!("resource {id} has a dependent object"));
    desk.ok("RevokeSecurityGroupIngress", named);
    let security_groups = vec![id.clone()];
    desk.holdings = vec![Holding { group: "web".to_owned(), security_groups, subnet_group: None }];
    assert_eq!(desk.code("DeleteSecurityGroup", delete.clone()), "DependencyViolation");
    desk.holdings.clear();
    let run = json!({"ImageId": "ami-01811d4912b4ccb26", "MinCount": 1, "MaxCount": 1,
        "InstanceType": "t3.micro", "SecurityGroupIds": [id]});
    let instance = desk.text("RunInstances", run, "/Instances/0/InstanceId");
    assert_eq!(desk.code("DeleteSecurityGroup", delete.clone()), "DependencyViolation");
    desk.ok("TerminateInstances", json!({"InstanceIds": [instance]}));
    desk.ok("DeleteSecurityGroup", delete.clone());
    assert_eq!(desk.code("DeleteSecurityGroup", delete), "InvalidGroup.NotFound");
    let default = desk.code("DeleteSecurityGroup", json!({"GroupName": "default"}));
    assert_eq!(default, "CannotDelete");
}

#[test]
fn groups_are_found_by_name_and_by_filter() {
    let mut desk = Desk::new();
    let id = group(&mut desk, "redis");
    let input = json!({"GroupId": id, "IpPermissions": tcp(6379, "10.0.0.0/16")});
    desk.ok("AuthorizeSecurityGroupIngress", input);
    for input in [
        json!({"GroupNames": ["redis"]}),
        json!({"Filters": [{"Name": "group-name", "Values": ["red*"]}]}),
        json!({"Filters": [{"Name": "ip-permission.cidr", "Values": ["10.0.0.0/16"]}]}),
        json!({"Filters": [{"Name": "ip-permission.from-port", "Values": ["6379"]}]}),
    ] {
        let found = desk.ok("DescribeSecurityGroups", input);
        assert_eq!(found["SecurityGroups"].as_array().unwrap().len(), 1);
        assert_eq!(found["SecurityGroups"][0]["GroupId"], id);
    }
    let code = desk.code("DescribeSecurityGroups", json!({"GroupNames": ["nobody"]}));
    assert_eq!(code, "InvalidGroup.NotFound");
}
