//! Instance types.
//!
//! Terraform reads a type before and after it makes an instance. The table has the families that
//! people use for small things and for caches' clients; their sizes follow rules.
//!
//! Invariant: a type that is not in the table can neither be looked at nor be launched.
//!
//! Not here: prices, and whether a zone has the type.

use crate::book::Pages;
use crate::error::ApiError;
use crate::service::Answer;
use crate::value::Structure;

use super::select::{Fact, Seen, filters, flag, one, page};
use super::site::Site;

/// A family of types. Sizes are pairs of a name and (vCPUs, MiB).
struct Family {
    name: &'static str,
    arm: bool,
    nitro: bool,
    /// What a type with CPU credits begins with.
    credits: Option<&'static str>,
    sizes: &'static [(&'static str, i64, i64)],
}

const T2: &[(&str, i64, i64)] = &[
    ("nano", 1, 512),
    ("micro", 1, 1024),
    ("small", 1, 2048),
    ("medium", 2, 4096),
    ("large", 2, 8192),
    ("xlarge", 4, 16_384),
    ("2xlarge", 8, 32_768),
];
const T3: &[(&str, i64, i64)] = &[
    ("nano", 2, 512),
    ("micro", 2, 1024),
    ("small", 2, 2048),
    ("medium", 2, 4096),
    ("large", 2, 8192),
    ("xlarge", 4, 16_384),
    ("2xlarge", 8, 32_768),
];
const GENERAL: &[(&str, i64, i64)] =
    &[("large", 2, 8192), ("xlarge", 4, 16_384), ("2xlarge", 8, 32_768), ("4xlarge", 16, 65_536)];
const COMPUTE: &[(&str, i64, i64)] =
    &[("large", 2, 4096), ("xlarge", 4, 8192), ("2xlarge", 8, 16_384), ("4xlarge", 16, 32_768)];
const MEMORY: &[(&str, i64, i64)] = &[
    ("large", 2, 16_384),
    ("xlarge", 4, 32_768),
    ("2xlarge", 8, 65_536),
    ("4xlarge", 16, 131_072),
];

const fn nitro(
    name: &'static str,
    arm: bool,
    sizes: &'static [(&'static str, i64, i64)],
) -> Family {
    Family { name, arm, nitro: true, credits: None, sizes }
}

/// Source: the instance type pages of the EC2 user guide.
const FAMILIES: [Family; 14] = [
    Family { name: "t2", arm: false, nitro: false, credits: Some("standard"), sizes: T2 },
    Family { name: "t3", arm: false, nitro: true, credits: Some("unlimited"), sizes: T3 },
    Family { name: "t3a", arm: false, nitro: true, credits: Some("unlimited"), sizes: T3 },
    Family { name: "t4g", arm: true, nitro: true, credits: Some("unlimited"), sizes: T3 },
    nitro("m5", false, GENERAL),
    nitro("m6i", false, GENERAL),
    nitro("m6g", true, GENERAL),
    nitro("m7g", true, GENERAL),
    nitro("c5", false, COMPUTE),
    nitro("c6i", false, COMPUTE),
    nitro("c6g", true, COMPUTE),
    nitro("r5", false, MEMORY),
    nitro("r6i", false, MEMORY),
    nitro("r6g", true, MEMORY),
];

/// What a request gets that names none.
pub(super) const DEFAULT: &str = "m1.small";

/// An instance type.
#[derive(Debug, Clone, Copy)]
pub(super) struct InstanceKind {
    family: &'static str,
    size: &'static str,
    arm: bool,
    nitro: bool,
    vcpus: i64,
    mib: i64,
    /// The credit option that instances have unless they ask for another; `None` without credits.
    pub(super) credits: Option<&'static str>,
}

impl InstanceKind {
    fn name(self) -> String {
        format!("{}.{}", self.family, self.size)
    }

    /// As instances spell it.
    pub(super) const fn architecture(self) -> &'static str {
        if self.arm { "arm64" } else { "x86_64" }
    }

    /// As instances spell it.
    pub(super) const fn hypervisor(self) -> &'static str {
        if self.nitro { "nitro" } else { "xen" }
    }

    const fn threads(self) -> i64 {
        if self.arm || self.vcpus == 1 || !self.nitro { 1 } else { 2 }
    }

    /// Cores, and threads of each.
    pub(super) const fn cores(self) -> (i64, i64) {
        (self.vcpus / self.threads(), self.threads())
    }
}

fn all() -> impl Iterator<Item = InstanceKind> {
    let first = InstanceKind {
        family: "m1",
        size: "small",
        arm: false,
        nitro: false,
        vcpus: 1,
        mib: 1740,
        credits: None,
    };
    let others = FAMILIES.iter().flat_map(|family| {
        family.sizes.iter().map(|&(size, vcpus, mib)| InstanceKind {
            family: family.name,
            size,
            arm: family.arm,
            nitro: family.nitro,
            vcpus,
            mib,
            credits: family.credits,
        })
    });
    std::iter::once(first).chain(others)
}

/// The type with this name.
pub(super) fn find(name: &str) -> Option<InstanceKind> {
    let (family, size) = name.split_once('.')?;
    all().find(|kind| kind.family == family && kind.size == size)
}

fn view(kind: InstanceKind) -> Structure {
    let (cores, threads) = kind.cores();
    let cpus = Structure::new()
        .set("DefaultVCpus", kind.vcpus)
        .set("DefaultCores", cores)
        .set("DefaultThreadsPerCore", threads);
    let support = |yes: bool| if yes { "default" } else { "unsupported" };
    let ebs = Structure::new()
        .set("EbsOptimizedSupport", support(kind.nitro))
        .set("EncryptionSupport", "supported")
        .set("NvmeSupport", if kind.nitro { "required" } else { "unsupported" });
    let network = Structure::new()
        .set("MaximumNetworkInterfaces", 2)
        .set("MaximumNetworkCards", 1)
        .set("DefaultNetworkCardIndex", 0)
        .set("Ipv4AddressesPerInterface", 4)
        .set("Ipv6AddressesPerInterface", 4)
        .set("Ipv6Supported", true)
        .set("EnaSupport", if kind.nitro { "required" } else { "unsupported" })
        .set("EfaSupported", false);
    let boot = if kind.arm { &["uefi"][..] } else { &["legacy-bios", "uefi"][..] };
    Structure::new()
        .set("InstanceType", kind.name())
        .set("CurrentGeneration", kind.family != "m1")
        .set("FreeTierEligible", ["t2.micro", "t3.micro"].contains(&kind.name().as_str()))
        .list("SupportedUsageClasses", ["on-demand"])
        .list("SupportedRootDeviceTypes", ["ebs"])
        .list("SupportedVirtualizationTypes", ["hvm"])
        .set("BareMetal", false)
        .set("Hypervisor", kind.hypervisor())
        .set(
            "ProcessorInfo",
            Structure::new().list("SupportedArchitectures", [kind.architecture()]),
        )
        .set("VCpuInfo", cpus)
        .set("MemoryInfo", Structure::new().set("SizeInMiB", kind.mib))
        .set("InstanceStorageSupported", false)
        .set("EbsInfo", ebs)
        .set("NetworkInfo", network)
        .set("HibernationSupported", false)
        .set("BurstablePerformanceSupported", kind.credits.is_some())
        .set("DedicatedHostsSupported", false)
        .set("AutoRecoverySupported", true)
        .list("SupportedBootModes", boot.iter().copied())
        .set("NitroEnclavesSupport", "unsupported")
}

const FACTS: &[Fact<InstanceKind>] = &[
    ("bare-metal", |_| flag(false)),
    ("burstable-performance-supported", |seen: &Seen<'_, InstanceKind>| {
        flag(seen.record.credits.is_some())
    }),
    ("current-generation", |seen| flag(seen.record.family != "m1")),
    ("hypervisor", |seen| one(seen.record.hypervisor())),
    ("instance-type", |seen| one(seen.record.name())),
    ("memory-info.size-in-mib", |seen| one(seen.record.mib.to_string())),
    ("processor-info.supported-architecture", |seen| one(seen.record.architecture())),
    ("supported-root-device-type", |_| one("ebs")),
    ("supported-usage-class", |_| one("on-demand")),
    ("supported-virtualization-type", |_| one("hvm")),
    ("vcpu-info.default-vcpus", |seen| one(seen.record.vcpus.to_string())),
];

pub(super) fn describe(pages: &Pages, site: &Site<'_>) -> Answer {
    let filters = filters(site, FACTS)?;
    let names: Vec<&str> = site.input().texts("InstanceTypes").collect();
    let unknown: Vec<&str> = names.iter().copied().filter(|name| find(name).is_none()).collect();
    if !unknown.is_empty() {
        return Err(no_such(site, &unknown));
    }
    let mut kinds: Vec<(String, InstanceKind)> = all().map(|kind| (kind.name(), kind)).collect();
    kinds.retain(|(name, kind)| {
        let seen = Seen { site, pages, record: kind };
        (names.is_empty() || names.contains(&name.as_str()))
            && filters.iter().all(|filter| filter.admits(name, &seen))
    });
    let records = kinds.iter().map(|(name, kind)| (name.as_str(), kind)).collect();
    Ok(page(site, records)?.answer("InstanceTypes", |kind| view(*kind)))
}

fn no_such(site: &Site<'_>, names: &[&str]) -> ApiError {
    let names = names.join(", ");
    let text = format!("The following supplied instance types do not exist: [{names}]");
    site.refuse("InvalidInstanceType", text)
}
