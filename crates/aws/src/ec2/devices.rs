//! Network interfaces and volumes of instances.
//!
//! Invariant: they exist as long as their instance runs.
//!
//! Not here: the instances.

use crate::book::{Instance, Pages};
use crate::service::Answer;
use crate::value::Structure;

use super::instances::{ROOT_DEVICE, group_names, groups_view, moment};
use super::named::runs;
use super::select::{Fact, Kind, Seen, flag, one, select};
use super::site::Site;
use super::tags;

/// An instance's private name, and its public one if its VPC gives such.
pub(super) fn names(
    pages: &Pages,
    site: &Site<'_>,
    instance: &Instance,
) -> (String, Option<String>) {
    let region = site.ask.region.as_str();
    let first = region == "us-east-1";
    let dashed = |address: std::net::Ipv4Addr| address.to_string().replace('.', "-");
    let domain =
        if first { "ec2.internal".to_owned() } else { format!("{region}.compute.internal") };
    let private = format!("ip-{}.{domain}", dashed(instance.address));
    let hosts = pages.vpcs.get(&instance.vpc).is_some_and(|vpc| vpc.dns_hostnames);
    let public = instance.public_address.filter(|_| hosts).map(|address| {
        let domain = if first { "compute-1".to_owned() } else { format!("{region}.compute") };
        format!("ec2-{}.{domain}.amazonaws.com", dashed(address))
    });
    (private, public)
}

fn association(pages: &Pages, site: &Site<'_>, instance: &Instance) -> Option<Structure> {
    let address = instance.public_address?;
    let name = names(pages, site, instance).1.unwrap_or_default();
    let association = Structure::new()
        .set("IpOwnerId", "amazon")
        .set("PublicDnsName", name)
        .set("PublicIp", address.to_string());
    Some(association)
}

/// The members that an instance's interface has wherever it is shown.
fn common(pages: &Pages, site: &Site<'_>, instance: &Instance) -> Structure {
    let association = association(pages, site, instance);
    let private_name = names(pages, site, instance).0;
    let address = Structure::new()
        .set("Primary", true)
        .set("PrivateDnsName", &private_name)
        .set("PrivateIpAddress", instance.address.to_string())
        .maybe("Association", association.clone());
    Structure::new()
        .set("NetworkInterfaceId", &instance.interface.id)
        .set("Description", &instance.interface.description)
        .list("Groups", groups_view(pages, instance))
        .set("InterfaceType", "interface")
        .list("Ipv6Addresses", [] as [Structure; 0])
        .set("MacAddress", &instance.interface.mac)
        .set("OwnerId", site.account)
        .set("PrivateDnsName", private_name)
        .set("PrivateIpAddress", instance.address.to_string())
        .list("PrivateIpAddresses", [address])
        .set("SourceDestCheck", true)
        .set("Status", "in-use")
        .set("SubnetId", &instance.subnet)
        .set("VpcId", &instance.vpc)
        .maybe("Association", association)
}

fn attachment(instance: &Instance) -> Structure {
    Structure::new()
        .set("AttachTime", moment(instance.launched_ms))
        .set("AttachmentId", &instance.interface.attachment)
        .set("DeleteOnTermination", true)
        .set("DeviceIndex", 0)
        .set("NetworkCardIndex", 0)
        .set("Status", "attached")
}

/// The interface as its instance shows it.
pub(super) fn interface_of_instance(
    pages: &Pages,
    site: &Site<'_>,
    instance: &Instance,
) -> Structure {
    common(pages, site, instance).set("Attachment", attachment(instance))
}

const INTERFACE_FACTS: &[Fact<Instance>] = &[
    ("addresses.association.public-ip", public),
    ("addresses.primary", |_| flag(true)),
    ("addresses.private-ip-address", |seen: &Seen<'_, Instance>| {
        one(seen.record.address.to_string())
    }),
    ("association.public-ip", public),
    ("attachment.attachment-id", |seen| one(&seen.record.interface.attachment)),
    ("attachment.delete-on-termination", |_| flag(true)),
    ("attachment.device-index", |_| one("0")),
    ("attachment.instance-id", |seen| one(&seen.record.id)),
    ("attachment.instance-owner-id", |seen| one(seen.site.account)),
    ("attachment.status", |_| one("attached")),
    ("availability-zone", |seen| one(&seen.record.zone)),
    ("description", |seen| one(&seen.record.interface.description)),
    ("group-id", |seen| seen.record.security_groups.clone()),
    ("group-name", |seen| group_names(seen.pages, seen.record)),
    ("interface-type", |_| one("interface")),
    ("mac-address", |seen| one(&seen.record.interface.mac)),
    ("network-interface-id", |seen| one(&seen.record.interface.id)),
    ("owner-id", |seen| one(seen.site.account)),
    ("private-dns-name", |seen| one(names(seen.pages, seen.site, seen.record).0)),
    ("private-ip-address", |seen| one(seen.record.address.to_string())),
    ("requester-id", |_| Vec::new()),
    ("requester-managed", |_| flag(false)),
    ("source-dest-check", |_| flag(true)),
    ("status", |_| one("in-use")),
    ("subnet-id", |seen| one(&seen.record.subnet)),
    ("vpc-id", |seen| one(&seen.record.vpc)),
];

fn public(seen: &Seen<'_, Instance>) -> Vec<String> {
    seen.record.public_address.map(|address| address.to_string()).into_iter().collect()
}

const INTERFACES: Kind<Instance> =
    Kind { ids: "NetworkInterfaceIds", prefix: "eni", facts: INTERFACE_FACTS };

pub(super) fn describe_interfaces(pages: &Pages, site: &Site<'_>) -> Answer {
    let running = pages.instances.values().filter(|instance| runs(instance));
    let all = running.map(|instance| (instance.interface.id.as_str(), instance));
    let chosen = select(site, pages, &INTERFACES, all)?;
    Ok(chosen.answer("NetworkInterfaces", |instance| {
        let attachment = attachment(instance)
            .set("InstanceId", &instance.id)
            .set("InstanceOwnerId", site.account);
        common(pages, site, instance)
            .set("Attachment", attachment)
            .set("AvailabilityZone", &instance.zone)
            .set("RequesterManaged", false)
            .list("TagSet", tags::shown(pages, &instance.interface.id))
    }))
}

const VOLUME_FACTS: &[Fact<Instance>] = &[
    ("attachment.delete-on-termination", |_| flag(true)),
    ("attachment.device", |_| one(ROOT_DEVICE)),
    ("attachment.instance-id", |seen: &Seen<'_, Instance>| one(&seen.record.id)),
    ("attachment.status", |_| one("attached")),
    ("availability-zone", |seen| one(&seen.record.zone)),
    ("encrypted", |seen| flag(seen.record.volume.encrypted)),
    ("multi-attach-enabled", |_| flag(false)),
    ("size", |seen| one(seen.record.volume.size.to_string())),
    ("snapshot-id", |_| Vec::new()),
    ("status", |_| one("in-use")),
    ("volume-id", |seen| one(&seen.record.volume.id)),
    ("volume-type", |seen| one(&seen.record.volume.kind)),
];

const VOLUMES: Kind<Instance> = Kind { ids: "VolumeIds", prefix: "vol", facts: VOLUME_FACTS };

pub(super) fn describe_volumes(pages: &Pages, site: &Site<'_>) -> Answer {
    let running = pages.instances.values().filter(|instance| runs(instance));
    let all = running.map(|instance| (instance.volume.id.as_str(), instance));
    let chosen = select(site, pages, &VOLUMES, all)?;
    Ok(chosen.answer("Volumes", |instance| {
        let volume = &instance.volume;
        let attachment = Structure::new()
            .set("AttachTime", moment(instance.launched_ms))
            .set("DeleteOnTermination", true)
            .set("Device", ROOT_DEVICE)
            .set("InstanceId", &instance.id)
            .set("State", "attached")
            .set("VolumeId", &volume.id);
        Structure::new()
            .set("VolumeId", &volume.id)
            .set("VolumeType", &volume.kind)
            .set("Size", volume.size)
            .maybe("Iops", volume.iops)
            .maybe("Throughput", volume.throughput)
            .set("Encrypted", volume.encrypted)
            .set("MultiAttachEnabled", false)
            .set("SnapshotId", "")
            .set("State", "in-use")
            .set("AvailabilityZone", &instance.zone)
            .set("CreateTime", moment(instance.launched_ms))
            .list("Attachments", [attachment])
            .list("Tags", tags::shown(pages, &volume.id))
    }))
}
