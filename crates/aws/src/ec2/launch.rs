//! Instances come: `RunInstances`.
//!
//! Nothing runs. An instance is an address in a subnet and a membership in security groups, which
//! is what decides who may connect to a replication group.
//!
//! Invariant: running instances of a subnet have different addresses; a request with a client token
//! that was seen before makes nothing, as long as an instance of it is shown.
//!
//! Not here: how instances are shown and go (`super::instances`).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::book::{
    DEFAULT_GROUP, Ids, Instance, Interface, MetadataOptions, Pages, Subnet, Tags, Volume,
};
use crate::digest::digest;
use crate::error::ApiError;
use crate::service::Answer;
use crate::value::Structure;

use super::groups::{by_name, group};
use super::instances::{reservation_view, sweep};
use super::kinds::{self, InstanceKind};
use super::named::remembered;
use super::site::Site;
use super::subnets::{subnet, taken, usable};
use super::tags;
use super::vpcs::default_vpc;

/// Most instances of a region, terminated ones included as long as they are shown.
const MAX_INSTANCES: usize = 1_000;
/// Most instances of one request; one transaction has to hold them and their tags.
const MAX_AT_ONCE: i64 = 25;
/// Most security groups of an instance.
const MAX_GROUPS: usize = 5;
/// Most bytes of user data before it is encoded.
const MAX_USER_DATA: usize = 16_384;

/// What is not kept here. An instance that only seemed to have it would be worse than none.
const UNSUPPORTED: [(&str, &str); 13] = [
    ("ElasticGpuSpecification", "elastic GPUs"),
    ("ElasticInferenceAccelerators", "accelerators"),
    ("IamInstanceProfile", "instance profiles"),
    ("InstanceMarketOptions", "spot instances"),
    ("Ipv6AddressCount", "IPv6 addresses"),
    ("Ipv6Addresses", "IPv6 addresses"),
    ("EnablePrimaryIpv6", "IPv6 addresses"),
    ("KernelId", "kernels of one's own"),
    ("RamdiskId", "RAM disks of one's own"),
    ("LaunchTemplate", "launch templates"),
    ("LicenseSpecifications", "licences"),
    ("CpuOptions", "CPU options"),
    ("SecondaryInterfaces", "secondary interfaces"),
];

/// Where the instances of a request shall be.
struct Place<'p> {
    subnet: &'p Subnet,
    groups: Vec<String>,
    public: bool,
    address: Option<Ipv4Addr>,
    description: String,
}

fn whole<'a>(site: &Site<'a>) -> Result<(), ApiError> {
    let input = site.input();
    if let Some((_, what)) = UNSUPPORTED.iter().find(|(name, _)| input.has(name)) {
        return Err(site.unsupported(what));
    }
    let asks = |name: &str, inner: &str| {
        input.structure(name).and_then(|options| options.flag(inner)) == Some(true)
    };
    if asks("HibernationOptions", "Configured") || asks("EnclaveOptions", "Enabled") {
        return Err(site.unsupported("hibernation and enclaves"));
    }
    let image = site.need("ImageId")?;
    let digits = image.strip_prefix("ami-").unwrap_or_default();
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if !matches!(digits.len(), 8 | 17) || !digits.bytes().all(hex) {
        return Err(site.refuse("InvalidAMIID.Malformed", format!("Invalid id: \"{image}\"")));
    }
    Ok(())
}

/// How many instances to make.
fn count(pages: &Pages, site: &Site<'_>) -> Result<i64, ApiError> {
    let (least, most) = (site.input().integer("MinCount"), site.input().integer("MaxCount"));
    let (least, most) = (least.unwrap_or(1), most.unwrap_or(1));
    if least < 1 {
        let text = format!(
            "Value ({least}) for parameter minCount is invalid. Min count must be greater than 0"
        );
        return Err(site.bad_value(text));
    }
    if most < least {
        let text = format!(
            "Value ({least}) for parameter minCount is invalid. Min count must be less than or \
             equal to max count"
        );
        return Err(site.bad_value(text));
    }
    let left = i64::try_from(MAX_INSTANCES.saturating_sub(pages.instances.len())).unwrap_or(0);
    let left = left.min(MAX_AT_ONCE);
    if least > left {
        let text = format!(
            "You have requested more instances ({least}) than your current instance limit of \
             {left} allows"
        );
        return Err(site.refuse("InstanceLimitExceeded", text));
    }
    Ok(most.min(left))
}

/// The one network interface that a request describes, if it does.
fn interface<'a>(site: &Site<'a>) -> Result<Option<&'a Structure>, ApiError> {
    let mut interfaces = site.input().structures("NetworkInterfaces");
    let Some(first) = interfaces.next() else { return Ok(None) };
    if interfaces.next().is_some() || first.integer("DeviceIndex").is_some_and(|at| at != 0) {
        return Err(site.unsupported("more than one network interface"));
    }
    if first.text("NetworkInterfaceId").is_some_and(|id| !id.is_empty()) {
        return Err(site.unsupported("network interfaces that exist before their instance"));
    }
    let instance_level = ["SubnetId", "PrivateIpAddress"];
    if instance_level.iter().any(|name| site.text(name).is_some())
        || !site.input().items("SecurityGroupIds").is_empty()
        || !site.input().items("SecurityGroups").is_empty()
    {
        let text = "Network interfaces and an instance-level subnet ID or security groups may not \
                    be specified on the same request";
        return Err(site.refuse("InvalidParameterCombination", text));
    }
    Ok(Some(first))
}

fn place<'p>(pages: &'p Pages, site: &Site<'_>) -> Result<Place<'p>, ApiError> {
    let given = interface(site)?;
    let from = given.unwrap_or(site.input());
    let subnet = match from.text("SubnetId").filter(|id| !id.is_empty()) {
        Some(id) => subnet(pages, site, id)?,
        None => default_subnet(pages, site)?,
    };
    let groups_name = if given.is_some() { "Groups" } else { "SecurityGroupIds" };
    let mut ids: Vec<&str> = from.texts(groups_name).collect();
    for name in site.input().texts("SecurityGroups") {
        if from.has("SubnetId") {
            let text = "The parameter groupName cannot be used with the parameter subnet";
            return Err(site.refuse("InvalidParameterCombination", text));
        }
        ids.push(&by_name(pages, site, name)?.id);
    }
    let mut groups = groups_of(pages, site, ids, &subnet.vpc, &subnet.id)?;
    if groups.is_empty() {
        let mut all = pages.security_groups.values();
        let own = all.find(|group| group.vpc == subnet.vpc && group.name == DEFAULT_GROUP);
        groups.extend(own.map(|group| group.id.clone()));
    }
    let public = from.flag("AssociatePublicIpAddress").unwrap_or(subnet.public_addresses);
    let address = match from.text("PrivateIpAddress").filter(|text| !text.is_empty()) {
        Some(text) => Some(address(site, subnet, text)?),
        None => None,
    };
    let description = given.and_then(|from| from.text("Description")).unwrap_or_default();
    let description = description.chars().take(255).collect();
    Ok(Place { subnet, groups, public, address, description })
}

/// Security groups that an instance in this network may have, each once.
pub(super) fn groups_of<'i>(
    pages: &Pages,
    site: &Site<'_>,
    ids: impl IntoIterator<Item = &'i str>,
    vpc: &str,
    subnet: &str,
) -> Result<Vec<String>, ApiError> {
    let (mut groups, mut seen) = (Vec::new(), BTreeSet::new());
    for id in ids {
        let known = group(pages, site, id)?;
        if known.vpc != vpc {
            let text =
                format!("Security group {id} and subnet {subnet} belong to different networks.");
            return Err(site.refuse("InvalidParameter", text));
        }
        if seen.insert(id) {
            groups.push(known.id.clone());
        }
    }
    if groups.len() > MAX_GROUPS {
        let text = "The maximum number of security groups per interface has been reached.";
        return Err(site.refuse("SecurityGroupsPerInterfaceLimitExceeded", text));
    }
    Ok(groups)
}

fn address(site: &Site<'_>, subnet: &Subnet, text: &str) -> Result<Ipv4Addr, ApiError> {
    let address: Ipv4Addr =
        text.parse().map_err(|_| site.bad_value(format!("Invalid IP address: '{text}'")))?;
    if usable(subnet.cidr, address) {
        return Ok(address);
    }
    let text = format!("Address {address} does not fall within the subnet's address range");
    Err(site.bad_value(text))
}

fn default_subnet<'p>(pages: &'p Pages, site: &Site<'_>) -> Result<&'p Subnet, ApiError> {
    let vpc = default_vpc(pages, site)?;
    let zone = site.input().structure("Placement").and_then(|place| place.text("AvailabilityZone"));
    let zone = zone.filter(|zone| !zone.is_empty());
    let mut subnets: Vec<&Subnet> =
        pages.subnets.values().filter(|s| s.vpc == vpc.id && s.default_for_zone).collect();
    subnets.sort_by(|one, other| one.zone.cmp(&other.zone));
    let found = subnets.into_iter().find(|subnet| zone.is_none_or(|zone| subnet.zone == zone));
    found.ok_or_else(|| {
        let text =
            format!("No subnets found for the default VPC '{}'. Please specify a subnet.", vpc.id);
        site.refuse("MissingInput", text)
    })
}

/// Free addresses of a subnet: the one that was asked for, or the first ones.
fn addresses(
    pages: &Pages,
    site: &Site<'_>,
    place: &Place<'_>,
    count: i64,
) -> Result<Vec<Ipv4Addr>, ApiError> {
    let taken = taken(pages, &place.subnet.id);
    let wanted = usize::try_from(count).unwrap_or(0);
    if let Some(address) = place.address {
        if wanted > 1 {
            let text = "A private IP address can be given to one instance only";
            return Err(site.refuse("InvalidParameterCombination", text));
        }
        if taken.contains(&address) {
            let text = format!("Address {address} is in use.");
            return Err(site.refuse("InvalidIPAddress.InUse", text));
        }
        return Ok(vec![address]);
    }
    let cidr = place.subnet.cidr;
    let all = u32::from(cidr.network())..u32::from(cidr.broadcast());
    let free = all.map(Ipv4Addr::from).filter(|a| usable(cidr, *a) && !taken.contains(a));
    let found: Vec<Ipv4Addr> = free.take(wanted).collect();
    let least = usize::try_from(site.input().integer("MinCount").unwrap_or(1)).unwrap_or(1);
    if found.len() < least {
        let text = "The specified subnet does not have enough free addresses to satisfy the \
                    request.";
        return Err(site.refuse("InsufficientFreeAddressesInSubnet", text));
    }
    Ok(found)
}

/// A public address that leads nowhere, out of the networks for benchmarks (RFC 2544).
fn public_address(pages: &Pages, ids: &mut Ids) -> Ipv4Addr {
    loop {
        let [one, two, three]: [u8; 3] = ids.bytes();
        let address = Ipv4Addr::new(198, 18 + (one & 1), two, three);
        // Far more of them than there can be instances.
        if !pages.instances.values().any(|known| known.public_address == Some(address)) {
            return address;
        }
    }
}

fn user_data(site: &Site<'_>) -> Result<Option<String>, ApiError> {
    let Some(text) = site.text("UserData") else { return Ok(None) };
    let body = text.trim_end_matches('=');
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if text.len() % 4 != 0 || text.len() - body.len() > 2 || !body.bytes().all(letter) {
        return Err(site.bad_value("Invalid BASE64 encoding of user data."));
    }
    if body.len() / 4 * 3 > MAX_USER_DATA {
        return Err(site.bad_value("User data is limited to 16384 bytes"));
    }
    Ok(Some(text.to_owned()))
}

fn volume(site: &Site<'_>, ids: &mut Ids) -> Result<Volume, ApiError> {
    let mut mappings = site.input().structures("BlockDeviceMappings");
    let first = mappings.next();
    let root = |mapping: &Structure| {
        let name = mapping.text("DeviceName").unwrap_or_default();
        ["/dev/xvda", "/dev/sda1"].contains(&name) && !mapping.has("VirtualName")
    };
    if mappings.next().is_some() || first.is_some_and(|mapping| !root(mapping)) {
        return Err(site.unsupported("volumes beside the root volume"));
    }
    let none = Structure::new();
    let ebs = first.and_then(|mapping| mapping.structure("Ebs")).unwrap_or(&none);
    let kind = ebs.text("VolumeType").unwrap_or("gp3").to_owned();
    if !["gp2", "gp3", "io1", "io2", "standard"].contains(&kind.as_str()) {
        let text = format!("Value ({kind}) for parameter volumeType is invalid.");
        return Err(site.bad_value(text));
    }
    if ebs.flag("DeleteOnTermination") == Some(false) {
        return Err(site.unsupported("volumes that outlive their instance"));
    }
    let size = ebs.integer("VolumeSize").unwrap_or(8);
    if !(1..=16_384).contains(&size) {
        return Err(site.bad_value(format!("Volume of {size}GiB is not between 1 and 16384 GiB")));
    }
    let gp3 = kind == "gp3";
    let iops = ebs.integer("Iops").or(match kind.as_str() {
        "gp3" => Some(3000),
        "gp2" => Some((size * 3).clamp(100, 16_000)),
        _ => None,
    });
    let throughput = ebs.integer("Throughput").or(gp3.then_some(125));
    let encrypted = ebs.flag("Encrypted").unwrap_or(false);
    Ok(Volume { id: ids.draw("vol"), kind, size, iops, throughput, encrypted })
}

fn metadata(site: &Site<'_>) -> MetadataOptions {
    let none = Structure::new();
    let given = site.input().structure("MetadataOptions").unwrap_or(&none);
    let text = |name: &str, default: &str| given.text(name).unwrap_or(default).to_owned();
    MetadataOptions {
        tokens: text("HttpTokens", "optional"),
        hops: given.integer("HttpPutResponseHopLimit").unwrap_or(1),
        endpoint: text("HttpEndpoint", "enabled"),
        ipv6: text("HttpProtocolIpv6", "disabled"),
        tags: text("InstanceMetadataTags", "disabled"),
    }
}

fn credits(site: &Site<'_>, kind: InstanceKind) -> Result<Option<String>, ApiError> {
    let given = site.input().structure("CreditSpecification");
    let given = given.and_then(|given| given.text("CpuCredits"));
    match (given, kind.credits) {
        (Some(_), None) => {
            let text = "CreditSpecification is only supported for burstable performance instances";
            Err(site.refuse("InvalidParameterCombination", text))
        }
        (Some(asked), Some(_)) if !["standard", "unlimited"].contains(&asked) => {
            Err(site.bad_value(format!("Invalid value '{asked}' for CpuCredits.")))
        }
        (asked, default) => Ok(asked.or(default).map(str::to_owned)),
    }
}

/// What the instances of a request have in common, with an id and an address to be filled in.
fn model(
    pages: &Pages,
    site: &Site<'_>,
    place: &Place<'_>,
    ids: &mut Ids,
) -> Result<Instance, ApiError> {
    let input = site.input();
    let name = site.text("InstanceType").unwrap_or(kinds::DEFAULT);
    let kind = kinds::find(name)
        .ok_or_else(|| site.bad_value(format!("Invalid value '{name}' for InstanceType.")))?;
    let key_name = site.text("KeyName");
    if let Some(name) = key_name
        && !pages.key_pairs.values().any(|key| key.name == name)
    {
        let text = format!("The key pair '{name}' does not exist");
        return Err(site.refuse("InvalidKeyPair.NotFound", text));
    }
    let shutdown = site.text("InstanceInitiatedShutdownBehavior").unwrap_or("stop");
    if !["stop", "terminate"].contains(&shutdown) {
        let text = format!("Invalid value '{shutdown}' for instanceInitiatedShutdownBehavior.");
        return Err(site.bad_value(text));
    }
    let tenancy = input.structure("Placement").and_then(|place| place.text("Tenancy"));
    if tenancy.is_some_and(|tenancy| !["", "default"].contains(&tenancy)) {
        return Err(site.unsupported("dedicated tenancy"));
    }
    let monitoring = input.structure("Monitoring").and_then(|given| given.flag("Enabled"));
    Ok(Instance {
        id: String::new(),
        reservation: ids.draw("r"),
        launch_index: 0,
        image: site.need("ImageId")?.to_owned(),
        kind: name.to_owned(),
        key_name: key_name.map(str::to_owned),
        vpc: place.subnet.vpc.clone(),
        subnet: place.subnet.id.clone(),
        zone: place.subnet.zone.clone(),
        address: Ipv4Addr::UNSPECIFIED,
        public_address: None,
        security_groups: place.groups.clone(),
        interface: Interface {
            id: String::new(),
            attachment: String::new(),
            mac: String::new(),
            description: place.description.clone(),
        },
        volume: volume(site, ids)?,
        credits: credits(site, kind)?,
        user_data: user_data(site)?,
        client_token: token(site),
        request: token(site).map(|_| request(site)),
        keep: input.flag("DisableApiTermination").unwrap_or(false),
        keep_running: input.flag("DisableApiStop").unwrap_or(false),
        shutdown: shutdown.to_owned(),
        monitoring: monitoring.unwrap_or(false),
        ebs_optimized: input.flag("EbsOptimized").unwrap_or(false),
        tenancy: "default".to_owned(),
        metadata: metadata(site),
        launched_ms: site.now_ms(),
        terminated_ms: None,
    })
}

/// What a client calls a request by, so that it is carried out once.
fn token(site: &Site<'_>) -> Option<String> {
    site.text("ClientToken").map(|token| token.chars().take(64).collect())
}

/// What has to be the same of a request that is repeated.
fn request(site: &Site<'_>) -> String {
    digest(site.input(), &["ClientToken", "DryRun"])
}

/// The instances that an earlier request with the same token made, terminated ones too: a client that
/// did not hear the answer does not want others.
fn repeated(pages: &Pages, site: &Site<'_>) -> Result<Vec<String>, ApiError> {
    let Some(token) = token(site) else { return Ok(Vec::new()) };
    let now = site.now_ms();
    let same = |known: &&Instance| known.client_token.as_ref() == Some(&token);
    let made: Vec<&Instance> =
        pages.instances.values().filter(same).filter(|known| remembered(known, now)).collect();
    let request = request(site);
    if made.iter().any(|known| known.request.as_ref().is_some_and(|known| *known != request)) {
        let text = "Arguments on this idempotent request are inconsistent with arguments used in \
                    previous request(s).";
        return Err(site.refuse("IdempotentParameterMismatch", text));
    }
    Ok(made.into_iter().map(|known| known.id.clone()).collect())
}

/// The tags that a request gives to instances, their volumes and their interfaces.
fn all_tags(site: &Site<'_>) -> Result<[Tags; 3], ApiError> {
    const TYPES: [&str; 4] = ["instance", "volume", "network-interface", "spot-instances-request"];
    Ok([
        tags::asked(site, &TYPES, "instance")?,
        tags::asked(site, &TYPES, "volume")?,
        tags::asked(site, &TYPES, "network-interface")?,
    ])
}

pub(super) fn run(pages: &mut Pages, site: &Site<'_>, ids: &mut Ids) -> Answer {
    sweep(pages, site);
    whole(site)?;
    let repeated = repeated(pages, site)?;
    if !repeated.is_empty() {
        return Ok(reservation_view(pages, site, &repeated, true));
    }
    let count = count(pages, site)?;
    let [of_instance, of_volume, of_interface] = all_tags(site)?;
    let place = place(pages, site)?;
    let addresses = addresses(pages, site, &place, count)?;
    let public = place.public;
    let model = model(pages, site, &place, ids)?;
    let mut made = Vec::new();
    for (address, launch_index) in addresses.into_iter().zip(0..) {
        let mut instance = model.clone();
        instance.id = ids.draw("i");
        instance.launch_index = launch_index;
        instance.address = address;
        instance.public_address = public.then(|| public_address(pages, ids));
        instance.volume.id = ids.draw("vol");
        instance.interface.id = ids.draw("eni");
        instance.interface.attachment = ids.draw("eni-attach");
        instance.interface.mac = ids.mac();
        tags::put(pages, &instance.id, of_instance.clone());
        tags::put(pages, &instance.volume.id, of_volume.clone());
        tags::put(pages, &instance.interface.id, of_interface.clone());
        made.push(instance.id.clone());
        let id = instance.id.clone();
        pages.instances.insert(&id, instance);
    }
    Ok(reservation_view(pages, site, &made, true))
}
