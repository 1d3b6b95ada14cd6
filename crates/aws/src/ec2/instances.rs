//! Instances as clients see them, and how they go.
//!
//! Invariant: a terminated instance is shown for an hour, without an address.
//!
//! Not here: how they come (`super::launch`), their volumes and interfaces (`super::devices`).

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::book::{Ids, Instance, Pages};
use crate::error::ApiError;
use crate::service::Answer;
use crate::value::Structure;

use super::devices::{interface_of_instance, names};
use super::kinds::{self, InstanceKind};
use super::named::{no_instances, not_found, remembered, runs};
use super::select::{Fact, Kind, Seen, filters, one, page, select};
use super::site::Site;
use super::tags;

/// Most instances of one request that ends them.
const MAX_AT_ONCE: usize = 50;
/// Most instances that one request forgets; a transaction has to hold them and their tags.
const SWEPT_AT_ONCE: usize = 10;

/// The root volume's name.
pub(super) const ROOT_DEVICE: &str = "/dev/xvda";

/// A moment of a record.
pub(super) fn moment(ms: i64) -> Timestamp {
    // What was written down came from a timestamp.
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn state(instance: &Instance) -> (i64, &'static str) {
    if runs(instance) { (16, "running") } else { (48, "terminated") }
}

fn state_view((code, name): (i64, &str)) -> Structure {
    Structure::new().set("Code", code).set("Name", name)
}

/// Ids and names of security groups.
pub(super) fn groups_view(pages: &Pages, instance: &Instance) -> Vec<Structure> {
    let named = |id: &String| {
        let name = pages.security_groups.get(id).map(|group| group.name.as_str());
        Structure::new().set("GroupId", id).maybe("GroupName", name)
    };
    instance.security_groups.iter().map(named).collect()
}

/// The names of security groups.
pub(super) fn group_names(pages: &Pages, instance: &Instance) -> Vec<String> {
    let known = instance.security_groups.iter().filter_map(|id| pages.security_groups.get(id));
    known.map(|group| group.name.clone()).collect()
}

fn running<T>(seen: &Seen<'_, Instance>, fact: impl Fn(&Instance) -> T) -> Vec<String>
where
    T: IntoIterator<Item = String>,
{
    if runs(seen.record) { fact(seen.record).into_iter().collect() } else { Vec::new() }
}

fn kind_fact(seen: &Seen<'_, Instance>, fact: fn(InstanceKind) -> &'static str) -> Vec<String> {
    kinds::find(&seen.record.kind).map(|kind| fact(kind).to_owned()).into_iter().collect()
}

const FACTS: &[Fact<Instance>] = &[
    ("architecture", |seen: &Seen<'_, Instance>| kind_fact(seen, InstanceKind::architecture)),
    ("availability-zone", |seen| one(&seen.record.zone)),
    ("block-device-mapping.device-name", |seen| running(seen, |_| one(ROOT_DEVICE))),
    ("block-device-mapping.status", |seen| running(seen, |_| one("attached"))),
    ("block-device-mapping.volume-id", |seen| running(seen, |known| one(&known.volume.id))),
    ("client-token", |seen| seen.record.client_token.iter().cloned().collect()),
    ("dns-name", |seen| running(seen, |known| names(seen.pages, seen.site, known).1)),
    ("group-id", |seen| running(seen, |known| known.security_groups.clone())),
    ("group-name", |seen| running(seen, |known| group_names(seen.pages, known))),
    ("hypervisor", |_| one("xen")),
    ("iam-instance-profile.arn", |_| Vec::new()),
    ("image-id", |seen| one(&seen.record.image)),
    ("instance-id", |seen| one(&seen.record.id)),
    ("instance-lifecycle", |_| Vec::new()),
    ("instance-state-code", |seen| one(state(seen.record).0.to_string())),
    ("instance-state-name", |seen| one(state(seen.record).1)),
    ("instance-type", |seen| one(&seen.record.kind)),
    ("instance.group-id", |seen| running(seen, |known| known.security_groups.clone())),
    ("instance.group-name", |seen| running(seen, |known| group_names(seen.pages, known))),
    ("ip-address", |seen| running(seen, |known| known.public_address.map(|a| a.to_string()))),
    ("key-name", |seen| seen.record.key_name.iter().cloned().collect()),
    ("launch-index", |seen| one(seen.record.launch_index.to_string())),
    ("monitoring-state", |seen| one(monitoring(seen.record))),
    ("network-interface.group-id", |seen| running(seen, |known| known.security_groups.clone())),
    ("network-interface.network-interface-id", |seen| {
        running(seen, |known| one(&known.interface.id))
    }),
    ("network-interface.subnet-id", |seen| running(seen, |known| one(&known.subnet))),
    ("network-interface.vpc-id", |seen| running(seen, |known| one(&known.vpc))),
    ("owner-id", |seen| one(seen.site.account)),
    ("private-dns-name", |seen| running(seen, |k| one(names(seen.pages, seen.site, k).0))),
    ("private-ip-address", |seen| running(seen, |known| one(known.address.to_string()))),
    ("reservation-id", |seen| one(&seen.record.reservation)),
    ("root-device-name", |_| one(ROOT_DEVICE)),
    ("root-device-type", |_| one("ebs")),
    ("subnet-id", |seen| running(seen, |known| one(&known.subnet))),
    ("tenancy", |seen| one(&seen.record.tenancy)),
    ("virtualization-type", |_| one("hvm")),
    ("vpc-id", |seen| running(seen, |known| one(&known.vpc))),
];

const INSTANCES: Kind<Instance> = Kind { ids: "InstanceIds", prefix: "i", facts: FACTS };

fn monitoring(instance: &Instance) -> &'static str {
    if instance.monitoring { "enabled" } else { "disabled" }
}

/// What an instance has only while it runs.
fn attached(pages: &Pages, site: &Site<'_>, instance: &Instance, shown: Structure) -> Structure {
    let (private_name, public_name) = names(pages, site, instance);
    let ebs = Structure::new()
        .set("AttachTime", moment(instance.launched_ms))
        .set("DeleteOnTermination", true)
        .set("Status", "attached")
        .set("VolumeId", &instance.volume.id);
    let root = Structure::new().set("DeviceName", ROOT_DEVICE).set("Ebs", ebs);
    let interface = interface_of_instance(pages, site, instance);
    shown
        .set("VpcId", &instance.vpc)
        .set("SubnetId", &instance.subnet)
        .set("PrivateIpAddress", instance.address.to_string())
        .set("PrivateDnsName", private_name)
        .set("PublicDnsName", public_name.unwrap_or_default())
        .maybe("PublicIpAddress", instance.public_address.map(|address| address.to_string()))
        .set("SourceDestCheck", true)
        .list("SecurityGroups", groups_view(pages, instance))
        .list("NetworkInterfaces", [interface])
        .list("BlockDeviceMappings", [root])
}

/// What an instance has for ever.
fn described(site: &Site<'_>, instance: &Instance) -> Structure {
    let metadata = Structure::new()
        .set("State", "applied")
        .set("HttpTokens", &instance.metadata.tokens)
        .set("HttpPutResponseHopLimit", instance.metadata.hops)
        .set("HttpEndpoint", &instance.metadata.endpoint)
        .set("HttpProtocolIpv6", &instance.metadata.ipv6)
        .set("InstanceMetadataTags", &instance.metadata.tags);
    let placement = Structure::new()
        .set("AvailabilityZone", &instance.zone)
        .set("AvailabilityZoneId", site.zone_id(&instance.zone))
        .set("GroupName", "")
        .set("Tenancy", &instance.tenancy);
    let dns = Structure::new()
        .set("HostnameType", "ip-name")
        .set("EnableResourceNameDnsARecord", false)
        .set("EnableResourceNameDnsAAAARecord", false);
    let reservation = Structure::new().set("CapacityReservationPreference", "open");
    let shown = Structure::new()
        .set("InstanceId", &instance.id)
        .set("ImageId", &instance.image)
        .set("InstanceType", &instance.kind)
        .maybe("KeyName", instance.key_name.as_deref())
        .set("AmiLaunchIndex", instance.launch_index)
        .set("LaunchTime", moment(instance.launched_ms))
        .set("Placement", placement)
        .set("Monitoring", Structure::new().set("State", monitoring(instance)))
        .maybe("ClientToken", instance.client_token.as_deref())
        .set("EbsOptimized", instance.ebs_optimized)
        .set("RootDeviceName", ROOT_DEVICE)
        .set("RootDeviceType", "ebs")
        .set("VirtualizationType", "hvm")
        .set("Hypervisor", "xen")
        .set("EnaSupport", true)
        .set("PlatformDetails", "Linux/UNIX")
        .set("UsageOperation", "RunInstances")
        .set("MetadataOptions", metadata)
        .set("PrivateDnsNameOptions", dns)
        .set("CapacityReservationSpecification", reservation)
        .set("HibernationOptions", Structure::new().set("Configured", false))
        .set("EnclaveOptions", Structure::new().set("Enabled", false))
        .set("MaintenanceOptions", Structure::new().set("AutoRecovery", "default"));
    let Some(kind) = kinds::find(&instance.kind) else { return shown };
    let (cores, threads) = kind.cores();
    let cpus = Structure::new().set("CoreCount", cores).set("ThreadsPerCore", threads);
    shown.set("Architecture", kind.architecture()).set("CpuOptions", cpus)
}

fn view(pages: &Pages, site: &Site<'_>, instance: &Instance, fresh: bool) -> Structure {
    let shown = described(site, instance).list("Tags", tags::shown(pages, &instance.id));
    let Some(gone) = instance.terminated_ms else {
        let state = if fresh { (0, "pending") } else { state(instance) };
        let shown = shown.set("State", state_view(state)).set("StateTransitionReason", "");
        return attached(pages, site, instance, shown);
    };
    let at = moment(gone).strftime("%Y-%m-%d %H:%M:%S GMT").to_string();
    let reason = Structure::new()
        .set("Code", "Client.UserInitiatedShutdown")
        .set("Message", "Client.UserInitiatedShutdown: User initiated shutdown");
    shown
        .set("State", state_view(state(instance)))
        .set("StateTransitionReason", format!("User initiated ({at})"))
        .set("StateReason", reason)
        .set("PrivateDnsName", "")
        .set("PublicDnsName", "")
        .list("SecurityGroups", [] as [Structure; 0])
        .list("NetworkInterfaces", [] as [Structure; 0])
        .list("BlockDeviceMappings", [] as [Structure; 0])
}

/// Instances of one request, as its answer shows them (`fresh`) or later.
pub(super) fn reservation_view(
    pages: &Pages,
    site: &Site<'_>,
    ids: &[String],
    fresh: bool,
) -> Structure {
    let mut instances: Vec<&Instance> =
        ids.iter().filter_map(|id| pages.instances.get(id)).collect();
    instances.sort_by_key(|instance| instance.launch_index);
    let reservation = instances.first().map(|instance| instance.reservation.as_str());
    Structure::new()
        .maybe("ReservationId", reservation)
        .set("OwnerId", site.account)
        .list("Groups", [] as [Structure; 0])
        .list("Instances", instances.into_iter().map(|known| view(pages, site, known, fresh)))
}

fn shown<'p>(pages: &'p Pages, site: &Site<'_>) -> impl Iterator<Item = (&'p str, &'p Instance)> {
    let now = site.now_ms();
    pages.instances.iter().filter(move |(_, instance)| remembered(instance, now))
}

/// The ids that a request names; all of them exist.
fn named<'a>(pages: &Pages, site: &Site<'a>) -> Result<Vec<&'a str>, ApiError> {
    let ids: Vec<&str> = site.input().texts("InstanceIds").collect();
    let missing: Vec<&str> = ids
        .iter()
        .copied()
        .filter(|id| !shown(pages, site).any(|(known, _)| known == *id))
        .collect();
    if missing.is_empty() { Ok(ids) } else { Err(no_instances(site, &missing)) }
}

pub(super) fn describe(pages: &Pages, site: &Site<'_>) -> Answer {
    named(pages, site)?;
    let chosen = select(site, pages, &INSTANCES, shown(pages, site))?;
    let mut reservations: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (id, instance) in &chosen.records {
        reservations.entry(&instance.reservation).or_default().push((*id).to_owned());
    }
    let views = reservations.values().map(|ids| reservation_view(pages, site, ids, false));
    Ok(Structure::new().list("Reservations", views).maybe("NextToken", chosen.next))
}

/// Forgets instances that are not shown any more.
pub(super) fn sweep(pages: &mut Pages, site: &Site<'_>) {
    let now = site.now_ms();
    let over = pages.instances.values().filter(|known| !remembered(known, now));
    let over: Vec<String> = over.take(SWEPT_AT_ONCE).map(|known| known.id.clone()).collect();
    for id in over {
        if let Some(gone) = pages.instances.remove(&id) {
            for id in [&gone.id, &gone.volume.id, &gone.interface.id] {
                pages.tags.remove(id);
            }
        }
    }
}

pub(super) fn terminate(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let mut ids = named(pages, site)?;
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Err(site.missing("InstanceId"));
    }
    if ids.len() > MAX_AT_ONCE {
        let text = format!("At most {MAX_AT_ONCE} instances can be terminated in one request");
        return Err(site.bad_value(text));
    }
    let mut changes = Vec::new();
    for id in ids {
        let Some(instance) = pages.instances.get_mut(id) else { continue };
        if instance.keep && runs(instance) {
            let text = format!(
                "The instance '{id}' may not be terminated. Modify its 'disableApiTermination' \
                 instance attribute and try again."
            );
            return Err(site.refuse("OperationNotPermitted", text));
        }
        let before = state(instance);
        let after = if runs(instance) { (32, "shutting-down") } else { before };
        instance.terminated_ms.get_or_insert(site.now_ms());
        let change = Structure::new()
            .set("InstanceId", id)
            .set("PreviousState", state_view(before))
            .set("CurrentState", state_view(after));
        changes.push(change);
    }
    sweep(pages, site);
    Ok(Structure::new().list("TerminatingInstances", changes))
}

pub(super) fn describe_attribute(pages: &Pages, site: &Site<'_>) -> Answer {
    let id = site.need("InstanceId")?;
    let instance = shown(pages, site).find(|(known, _)| *known == id).map(|(_, known)| known);
    let instance = instance.ok_or_else(|| not_found(site, "i", id))?;
    let answer = Structure::new().set("InstanceId", id);
    let text = |value: &str| Structure::new().set("Value", value);
    let yes = |value: bool| Structure::new().set("Value", value);
    let answer = match site.need("Attribute")? {
        "instanceType" => answer.set("InstanceType", text(&instance.kind)),
        "userData" => {
            let data = instance.user_data.as_deref().map(text).unwrap_or_default();
            answer.set("UserData", data)
        }
        "disableApiTermination" => answer.set("DisableApiTermination", yes(instance.keep)),
        "disableApiStop" => answer.set("DisableApiStop", yes(instance.keep_running)),
        "instanceInitiatedShutdownBehavior" => {
            answer.set("InstanceInitiatedShutdownBehavior", text(&instance.shutdown))
        }
        "rootDeviceName" => answer.set("RootDeviceName", text(ROOT_DEVICE)),
        "sourceDestCheck" => answer.set("SourceDestCheck", yes(true)),
        "ebsOptimized" => answer.set("EbsOptimized", yes(instance.ebs_optimized)),
        "enaSupport" => answer.set("EnaSupport", yes(true)),
        "enclaveOptions" => answer.set("EnclaveOptions", Structure::new().set("Enabled", false)),
        "groupSet" => answer.list("Groups", groups_view(pages, instance)),
        "kernel" | "ramdisk" | "sriovNetSupport" | "productCodes" => answer,
        "blockDeviceMapping" => {
            let whole = view(pages, site, instance, false);
            answer.list("BlockDeviceMappings", whole.items("BlockDeviceMappings").iter().cloned())
        }
        other => {
            let text =
                format!("Value ({other}) for parameter attribute is invalid. Unknown attribute.");
            return Err(site.bad_value(text));
        }
    };
    Ok(answer)
}

const CREDIT_FACTS: &[Fact<Instance>] =
    &[("instance-id", |seen: &Seen<'_, Instance>| one(&seen.record.id))];

pub(super) fn describe_credits(pages: &Pages, site: &Site<'_>) -> Answer {
    let ids = named(pages, site)?;
    let filters = filters(site, CREDIT_FACTS)?;
    let mut found = Vec::new();
    for (id, instance) in shown(pages, site) {
        let seen = Seen { site, pages, record: instance };
        if !filters.iter().all(|filter| filter.admits(id, &seen)) {
            continue;
        }
        match instance.credits {
            Some(_) if ids.is_empty() || ids.contains(&id) => found.push((id, instance)),
            None if ids.contains(&id) => {
                let text = "Specified instance type does not support credit specification";
                return Err(site.refuse("IncorrectInstanceState", format!("{text}: {id}")));
            }
            _ => {}
        }
    }
    let view = |instance: &Instance| {
        Structure::new()
            .set("InstanceId", &instance.id)
            .maybe("CpuCredits", instance.credits.as_deref())
    };
    Ok(page(site, found)?.answer("InstanceCreditSpecifications", view))
}
