//! VPCs, subnets, gateways, routes, tags, places.

use serde_json::json;

use super::*;

fn vpc_with_subnet(desk: &mut Desk) -> (String, String) {
    let vpc = desk.text("CreateVpc", json!({"CidrBlock": "10.0.0.0/16"}), "/Vpc/VpcId");
    let zone = "us-east-1b";
    let input = json!({"VpcId": vpc, "CidrBlock": "10.0.1.0/24", "AvailabilityZone": zone});
    let subnet = desk.text("CreateSubnet", input, "/Subnet/SubnetId");
    (vpc, subnet)
}

fn ids(answer: &Json, list: &str, id: &str) -> Vec<String> {
    let items = answer[list].as_array().unwrap().iter();
    items.map(|item| item[id].as_str().unwrap().to_owned()).collect()
}

fn filter(name: &str, value: &str) -> Json {
    json!({"Filters": [{"Name": name, "Values": [value]}]})
}

#[test]
fn a_vpc_comes_with_what_terraform_looks_for() {
    let mut desk = Desk::new();
    let tags = json!([{"ResourceType": "vpc", "Tags": [{"Key": "Name", "Value": "lab"}]}]);
    let input = json!({"CidrBlock": "10.0.0.0/16", "TagSpecifications": tags});
    let answer = desk.ok("CreateVpc", input);
    let vpc = answer["Vpc"]["VpcId"].as_str().unwrap().to_owned();
    assert_eq!(answer["Vpc"]["State"], "available");
    assert_eq!(answer["Vpc"]["IsDefault"], false);
    assert_eq!(answer["Vpc"]["Tags"], json!([{"Key": "Name", "Value": "lab"}]));
    for (operation, list, name, value) in [
        ("DescribeRouteTables", "RouteTables", "association.main", "true"),
        ("DescribeNetworkAcls", "NetworkAcls", "default", "true"),
        ("DescribeSecurityGroups", "SecurityGroups", "group-name", "default"),
    ] {
        let input = json!({"Filters": [
            {"Name": name, "Values": [value]}, {"Name": "vpc-id", "Values": [vpc]},
        ]});
        assert_eq!(desk.ok(operation, input)[list].as_array().unwrap().len(), 1, "{operation}");
    }
    let attribute = |desk: &mut Desk, name: &str, member: &str| {
        let input = json!({"VpcId": vpc, "Attribute": name});
        desk.ok("DescribeVpcAttribute", input)[member]["Value"].clone()
    };
    assert_eq!(attribute(&mut desk, "enableDnsSupport", "EnableDnsSupport"), true);
    assert_eq!(attribute(&mut desk, "enableDnsHostnames", "EnableDnsHostnames"), false);
    desk.ok("ModifyVpcAttribute", json!({"VpcId": vpc, "EnableDnsHostnames": {"Value": true}}));
    assert_eq!(attribute(&mut desk, "enableDnsHostnames", "EnableDnsHostnames"), true);
    let metrics = "EnableNetworkAddressUsageMetrics";
    assert_eq!(attribute(&mut desk, "enableNetworkAddressUsageMetrics", metrics), false);
    let default = desk.ok("DescribeVpcs", filter("isDefault", "true"));
    assert_eq!(ids(&default, "Vpcs", "VpcId"), [desk.vpc()]);
}

#[test]
fn a_vpc_goes_with_what_it_came_with_and_not_before_the_rest() {
    let mut desk = Desk::new();
    let before = desk.pages.len();
    let (vpc, subnet) = vpc_with_subnet(&mut desk);
    assert_eq!(desk.code("DeleteVpc", json!({"VpcId": vpc})), "DependencyViolation");
    desk.ok("DeleteSubnet", json!({"SubnetId": subnet}));
    desk.ok("DeleteVpc", json!({"VpcId": vpc}));
    assert_eq!(desk.pages.len(), before);
    let (code, text) = desk.refusal("DescribeVpcs", json!({"VpcIds": [vpc]}));
    assert_eq!(code, "InvalidVpcID.NotFound");
    assert_eq!(text, format!("The vpc ID '{vpc}' does not exist"));
    assert_eq!(desk.code("DeleteVpc", json!({"VpcId": vpc})), "InvalidVpcID.NotFound");
}

#[test]
fn networks_that_cannot_be_are_refused() {
    let mut desk = Desk::new();
    let vpc = |desk: &mut Desk, cidr: &str| desk.code("CreateVpc", json!({"CidrBlock": cidr}));
    assert_eq!(vpc(&mut desk, "10.0.0.0/8"), "InvalidVpc.Range");
    assert_eq!(vpc(&mut desk, "10.0.0.0/29"), "InvalidVpc.Range");
    assert_eq!(vpc(&mut desk, "10.0.0.0"), "InvalidParameterValue");
    assert_eq!(vpc(&mut desk, "nonsense"), "InvalidParameterValue");
    assert_eq!(desk.code("CreateVpc", json!({})), "MissingParameter");
    let (id, _) = vpc_with_subnet(&mut desk);
    let subnet = |desk: &mut Desk, cidr: &str, zone: &str| {
        let input = json!({"VpcId": id, "CidrBlock": cidr, "AvailabilityZone": zone});
        desk.code("CreateSubnet", input)
    };
    assert_eq!(subnet(&mut desk, "10.0.1.128/25", "us-east-1a"), "InvalidSubnet.Conflict");
    assert_eq!(subnet(&mut desk, "10.0.0.0/16", "us-east-1a"), "InvalidSubnet.Conflict");
    assert_eq!(subnet(&mut desk, "10.1.1.0/24", "us-east-1a"), "InvalidSubnet.Range");
    assert_eq!(subnet(&mut desk, "10.0.2.0/29", "us-east-1a"), "InvalidSubnet.Range");
    assert_eq!(subnet(&mut desk, "10.0.2.0/24", "us-east-1z"), "InvalidParameterValue");
    let input = json!({"VpcId": "vpc-0", "CidrBlock": "10.0.2.0/24"});
    assert_eq!(desk.code("CreateSubnet", input), "InvalidVpcID.NotFound");
    for number in 0..98 {
        desk.ok("CreateVpc", json!({"CidrBlock": format!("10.{number}.0.0/16")}));
    }
    assert_eq!(vpc(&mut desk, "10.200.0.0/16"), "VpcLimitExceeded");
}

#[test]
fn a_subnet_has_what_terraform_reads_and_can_be_changed() {
    let mut desk = Desk::new();
    let (_, id) = vpc_with_subnet(&mut desk);
    let subnet = desk.ok("DescribeSubnets", json!({"SubnetIds": [id]}))["Subnets"][0].clone();
    assert_eq!(subnet["AvailabilityZoneId"], "use1-az2");
    assert_eq!(subnet["AvailableIpAddressCount"], 251);
    assert_eq!(subnet["SubnetArn"], format!("arn:aws:ec2:{REGION}:{ACCOUNT}:subnet/{id}"));
    assert_eq!(subnet["PrivateDnsNameOptionsOnLaunch"]["HostnameType"], "ip-name");
    assert_eq!(subnet["MapPublicIpOnLaunch"], false);
    desk.ok(
        "ModifySubnetAttribute",
        json!({"SubnetId": id, "MapPublicIpOnLaunch": {"Value": true}}),
    );
    let found = desk.ok("DescribeSubnets", filter("map-public-ip-on-launch", "true"));
    assert!(ids(&found, "Subnets", "SubnetId").contains(&id));
    let defaults = desk.ok("DescribeSubnets", filter("default-for-az", "true"));
    assert_eq!(defaults["Subnets"].as_array().unwrap().len(), 3);
}

#[test]
fn a_subnet_that_caches_use_stays() {
    let mut desk = Desk::new();
    let (vpc_id, subnet) = vpc_with_subnet(&mut desk);
    let group = crate::book::CacheSubnetGroup {
        name: "g".to_owned(),
        description: String::new(),
        vpc_id,
        subnets: vec![subnet.clone()],
        arn: None,
        tags: Default::default(),
        created_ms: 0,
    };
    desk.pages.cache_subnet_groups.insert("g", group);
    assert_eq!(desk.code("DeleteSubnet", json!({"SubnetId": subnet})), "DependencyViolation");
    desk.pages.cache_subnet_groups.remove("g");
    desk.ok("DeleteSubnet", json!({"SubnetId": subnet}));
    // The default subnets are a subnet group that is no record.
    let default = ids(&desk.ok("DescribeSubnets", json!({})), "Subnets", "SubnetId").remove(0);
    let (group, security_groups) = ("web".to_owned(), Vec::new());
    let subnet_group = Some("default".to_owned());
    desk.holdings = vec![Holding { group, security_groups, subnet_group }];
    assert_eq!(desk.code("DeleteSubnet", json!({"SubnetId": default})), "DependencyViolation");
    desk.holdings.clear();
    desk.ok("DeleteSubnet", json!({"SubnetId": default}));
}

#[test]
fn a_gateway_is_attached_to_one_network_and_a_network_has_one() {
    let mut desk = Desk::new();
    let (vpc, _) = vpc_with_subnet(&mut desk);
    let make = |desk: &mut Desk| {
        desk.text("CreateInternetGateway", json!({}), "/InternetGateway/InternetGatewayId")
    };
    let (one, two) = (make(&mut desk), make(&mut desk));
    let pair = |gateway: &str, vpc: &str| json!({"InternetGatewayId": gateway, "VpcId": vpc});
    assert_eq!(desk.code("DetachInternetGateway", pair(&one, &vpc)), "Gateway.NotAttached");
    desk.ok("AttachInternetGateway", pair(&one, &vpc));
    let code = desk.code("AttachInternetGateway", pair(&one, &vpc));
    assert_eq!(code, "Resource.AlreadyAssociated");
    assert_eq!(desk.code("AttachInternetGateway", pair(&two, &vpc)), "InvalidParameterValue");
    let found = desk.ok("DescribeInternetGateways", filter("attachment.vpc-id", &vpc));
    assert_eq!(found["InternetGateways"][0]["Attachments"][0]["State"], "available");
    let id = json!({"InternetGatewayId": one});
    assert_eq!(desk.code("DeleteInternetGateway", id.clone()), "DependencyViolation");
    desk.ok("DetachInternetGateway", pair(&one, &vpc));
    desk.ok("DeleteInternetGateway", id.clone());
    assert_eq!(desk.code("DeleteInternetGateway", id), "InvalidInternetGatewayID.NotFound");
}

#[test]
fn routes_and_associations_come_and_go() {
    let mut desk = Desk::new();
    let (vpc, subnet) = vpc_with_subnet(&mut desk);
    let gateway =
        desk.text("CreateInternetGateway", json!({}), "/InternetGateway/InternetGatewayId");
    let table = desk.text("CreateRouteTable", json!({"VpcId": vpc}), "/RouteTable/RouteTableId");
    let route =
        json!({"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway});
    let (code, text) = desk.refusal("CreateRoute", route.clone());
    assert_eq!(code, "InvalidParameterValue");
    assert!(text.contains("belong to different networks"));
    desk.ok("AttachInternetGateway", json!({"InternetGatewayId": gateway, "VpcId": vpc}));
    desk.ok("CreateRoute", route.clone());
    let other = json!({
        "RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-0"
    });
    assert_eq!(desk.code("CreateRoute", other), "InvalidInternetGatewayID.NotFound");
    let local = json!({
        "RouteTableId": table, "DestinationCidrBlock": "10.0.0.0/16", "GatewayId": gateway
    });
    assert_eq!(desk.code("CreateRoute", local), "RouteAlreadyExists");
    let pair = json!({"RouteTableId": table, "SubnetId": subnet});
    let association = desk.text("AssociateRouteTable", pair.clone(), "/AssociationId");
    assert_eq!(desk.text("AssociateRouteTable", pair, "/AssociationId"), association);
    let by_id = filter("association.route-table-association-id", &association);
    let found = desk.ok("DescribeRouteTables", by_id);
    let found = &found["RouteTables"][0];
    assert_eq!(found["Associations"][0]["AssociationState"]["State"], "associated");
    assert_eq!(found["Associations"][0]["SubnetId"], subnet);
    assert_eq!(found["Routes"][0]["GatewayId"], "local");
    assert_eq!(found["Routes"][0]["Origin"], "CreateRouteTable");
    assert_eq!(
        (&found["Routes"][1]["State"], &found["Routes"][1]["GatewayId"]),
        (&json!("active"), &json!(gateway))
    );
    desk.ok("DetachInternetGateway", json!({"InternetGatewayId": gateway, "VpcId": vpc}));
    let found = desk.ok("DescribeRouteTables", filter("route.state", "blackhole"));
    assert_eq!(ids(&found, "RouteTables", "RouteTableId"), [table.clone()]);
    assert_eq!(
        desk.code("DeleteRouteTable", json!({"RouteTableId": table})),
        "DependencyViolation"
    );
    desk.ok("DisassociateRouteTable", json!({"AssociationId": association}));
    let code = desk.code("DisassociateRouteTable", json!({"AssociationId": association}));
    assert_eq!(code, "InvalidAssociationID.NotFound");
    let gone = json!({"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"});
    desk.ok("DeleteRoute", gone.clone());
    assert_eq!(desk.code("DeleteRoute", gone), "InvalidRoute.NotFound");
    let local = json!({"RouteTableId": table, "DestinationCidrBlock": "10.0.0.0/16"});
    assert_eq!(desk.code("DeleteRoute", local), "InvalidParameterValue");
    desk.ok("DeleteRouteTable", json!({"RouteTableId": table}));
}

#[test]
fn a_subnet_uses_one_table_and_leaves_it_when_it_goes() {
    let mut desk = Desk::new();
    let (vpc, subnet) = vpc_with_subnet(&mut desk);
    let make = |desk: &mut Desk| {
        desk.text("CreateRouteTable", json!({"VpcId": vpc}), "/RouteTable/RouteTableId")
    };
    let (one, two) = (make(&mut desk), make(&mut desk));
    desk.ok("AssociateRouteTable", json!({"RouteTableId": one, "SubnetId": subnet}));
    let code = desk.code("AssociateRouteTable", json!({"RouteTableId": two, "SubnetId": subnet}));
    assert_eq!(code, "Resource.AlreadyAssociated");
    desk.ok("DeleteSubnet", json!({"SubnetId": subnet}));
    desk.ok("DeleteRouteTable", json!({"RouteTableId": one}));
}

#[test]
fn tags_are_given_found_and_taken() {
    let mut desk = Desk::new();
    let vpc = desk.vpc();
    let tag = |key: &str, value: &str| json!({"Key": key, "Value": value});
    let tags = json!([tag("Name", "lab"), tag("team", "cache")]);
    desk.ok("CreateTags", json!({"Resources": [vpc], "Tags": tags}));
    for (name, value, count) in [
        ("tag:Name", "lab", 1),
        ("tag:Name", "l?b", 1),
        ("tag:Name", "x", 0),
        ("tag-key", "te*", 1),
        ("tag:Nothing", "*", 0),
    ] {
        let found = desk.ok("DescribeVpcs", filter(name, value));
        assert_eq!(found["Vpcs"].as_array().unwrap().len(), count, "{name} {value}");
    }
    let found = desk.ok("DescribeTags", filter("resource-type", "vpc"));
    assert_eq!(ids(&found, "Tags", "Key"), ["Name", "team"]);
    // Another value than the tag's takes nothing.
    desk.ok("DeleteTags", json!({"Resources": [vpc], "Tags": [tag("Name", "other")]}));
    desk.ok("DeleteTags", json!({"Resources": [vpc], "Tags": [{"Key": "team"}]}));
    let found = desk.ok("DescribeTags", filter("resource-id", &vpc));
    assert_eq!(ids(&found, "Tags", "Key"), ["Name"]);
    desk.ok("DeleteTags", json!({"Resources": [vpc]}));
    assert!(desk.pages.tags.get(&vpc).is_none());
    let refused = |desk: &mut Desk, tags: Json| {
        desk.code("CreateTags", json!({"Resources": [vpc], "Tags": tags}))
    };
    assert_eq!(refused(&mut desk, json!([tag("aws:x", "")])), "InvalidParameterValue");
    assert_eq!(refused(&mut desk, json!([tag("", "x")])), "InvalidParameterValue");
    assert_eq!(refused(&mut desk, json!([tag("a", ""), tag("a", "")])), "InvalidParameterValue");
    let many: Vec<Json> = (0..51).map(|number| tag(&number.to_string(), "")).collect();
    assert_eq!(refused(&mut desk, json!(many)), "TagLimitExceeded");
    let gone = json!({"Resources": ["subnet-0"], "Tags": [tag("a", "")]});
    assert_eq!(desk.code("CreateTags", gone), "InvalidSubnetID.NotFound");
    let nonsense = json!({"Resources": ["nonsense"], "Tags": [tag("a", "")]});
    assert_eq!(desk.code("CreateTags", nonsense), "InvalidID");
}

#[test]
fn pages_hold_everything_once() {
    let mut desk = Desk::new();
    for number in 0..11 {
        desk.ok("CreateVpc", json!({"CidrBlock": format!("10.{number}.0.0/16")}));
    }
    let mut seen = Vec::new();
    let mut input = json!({"MaxResults": 5});
    loop {
        let answer = desk.ok("DescribeVpcs", input.clone());
        seen.extend(ids(&answer, "Vpcs", "VpcId"));
        match answer.get("NextToken") {
            Some(token) => input = json!({"MaxResults": 5, "NextToken": token}),
            None => break,
        }
    }
    let all = ids(&desk.ok("DescribeVpcs", json!({})), "Vpcs", "VpcId");
    assert_eq!((seen.len(), &seen), (12, &all));
    let code = desk.code("DescribeVpcs", json!({"NextToken": "not one"}));
    assert_eq!(code, "InvalidNextToken");
    let code = desk.code("DescribeInstances", json!({"MaxResults": 1}));
    assert_eq!(code, "InvalidParameterValue");
}

#[test]
fn regions_and_zones_are_those_that_are_configured() {
    let mut desk = Desk::new();
    let answer = desk.ok("DescribeRegions", json!({}));
    assert_eq!(ids(&answer, "Regions", "RegionName"), [REGION, "eu-central-1"]);
    let code = desk.code("DescribeRegions", json!({"RegionNames": ["mars-1"]}));
    assert_eq!(code, "InvalidParameterValue");
    let answer = desk.ok("DescribeAvailabilityZones", filter("state", "available"));
    assert_eq!(ids(&answer, "AvailabilityZones", "ZoneName"), zones());
    let answer = desk.ok("DescribeAvailabilityZones", json!({"ZoneIds": ["use1-az3"]}));
    assert_eq!(ids(&answer, "AvailabilityZones", "ZoneName"), ["us-east-1c"]);
    let code = desk.code("DescribeAvailabilityZones", json!({"ZoneNames": ["us-east-1x"]}));
    assert_eq!(code, "InvalidParameterValue");
    let answer = desk.ok("DescribeAccountAttributes", json!({"AttributeNames": ["default-vpc"]}));
    let value = &answer["AccountAttributes"][0]["AttributeValues"][0]["AttributeValue"];
    assert_eq!(*value, desk.vpc());
}
