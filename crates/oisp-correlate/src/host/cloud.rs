//! The cloud that a virtual machine runs in, by what its firmware and cloud-init say.

use oisp_event::{Cloud, CloudProvider};
use serde_json::Value;

use super::tree::{Tree, value};

const DMI: &str = "sys/class/dmi/id";

/// Field of the DMI table, its value, whose it is. The values are the ones that the providers document or that
/// cloud-init's `ds-identify` goes by.
const SIGNS: &[(&str, &str, CloudProvider)] = &[
    ("sys_vendor", "Amazon EC2", CloudProvider::Aws),
    ("bios_vendor", "Amazon EC2", CloudProvider::Aws),
    ("product_name", "Google Compute Engine", CloudProvider::Gcp),
    ("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77", CloudProvider::Azure),
    ("sys_vendor", "DigitalOcean", CloudProvider::DigitalOcean),
    ("sys_vendor", "Akamai", CloudProvider::Other),
    ("sys_vendor", "Hetzner", CloudProvider::Other),
    ("sys_vendor", "Linode", CloudProvider::Other),
    ("sys_vendor", "Scaleway", CloudProvider::Other),
    ("sys_vendor", "UpCloud", CloudProvider::Other),
    ("sys_vendor", "Vultr", CloudProvider::Other),
    ("product_name", "Alibaba Cloud ECS", CloudProvider::Other),
    ("product_name", "CloudSigma", CloudProvider::Other),
    ("product_name", "Exoscale", CloudProvider::Other),
    ("product_name", "OpenStack Compute", CloudProvider::Other),
    ("product_name", "OpenStack Nova", CloudProvider::Other),
    ("chassis_asset_tag", "OpenTelekomCloud", CloudProvider::Other),
    ("chassis_asset_tag", "OracleCloud.com", CloudProvider::Other),
    ("chassis_asset_tag", "SAP CCloud VM", CloudProvider::Other),
];

/// cloud-init's names of clouds (`cloud_id`); what is not a cloud, as `nocloud`, `lxd` or `vmware`, is not here.
const NAMES: &[(&str, CloudProvider)] = &[
    ("aws", CloudProvider::Aws),
    ("aws-china", CloudProvider::Aws),
    ("aws-gov", CloudProvider::Aws),
    ("gce", CloudProvider::Gcp),
    ("azure", CloudProvider::Azure),
    ("azure-china", CloudProvider::Azure),
    ("azure-gov", CloudProvider::Azure),
    ("digitalocean", CloudProvider::DigitalOcean),
    ("akamai", CloudProvider::Other),
    ("aliyun", CloudProvider::Other),
    ("exoscale", CloudProvider::Other),
    ("hetzner", CloudProvider::Other),
    ("openstack", CloudProvider::Other),
    ("oracle", CloudProvider::Other),
    ("scaleway", CloudProvider::Other),
    ("upcloud", CloudProvider::Other),
    ("vultr", CloudProvider::Other),
];

/// `first` is the root that the host's first process sees: cloud-init writes there.
pub(super) fn of(tree: &Tree, first: &Tree) -> Option<Cloud> {
    let firmware = of_firmware(tree);
    let written = of_cloud_init(first);
    match (firmware, written) {
        // The firmware's word counts; of the same provider each knows what the other does not.
        (Some(firmware), Some(written)) if firmware.provider == written.provider => Some(Cloud {
            provider: firmware.provider,
            region: firmware.region.or(written.region),
            instance_id: firmware.instance_id.or(written.instance_id),
            instance_type: firmware.instance_type.or(written.instance_type),
        }),
        (firmware, written) => firmware.or(written),
    }
}

fn of_firmware(tree: &Tree) -> Option<Cloud> {
    let field = |name: &str| tree.value(&format!("{DMI}/{name}"));
    let sign = SIGNS.iter().find(|(name, expected, _)| field(name).as_deref() == Some(*expected));
    let provider = match sign {
        Some((.., provider)) => *provider,
        // On Xen, before Nitro.
        None if field("bios_version").is_some_and(|version| version.ends_with(".amazon")) => {
            CloudProvider::Aws
        }
        None if is_ec2_on_xen(tree) => CloudProvider::Aws,
        None => return None,
    };
    let serial_number =
        || field("product_serial").filter(|serial| serial.bytes().all(|byte| byte.is_ascii_digit()));
    let (instance_id, instance_type) = match sign {
        Some((.., CloudProvider::Aws)) => (
            field("board_asset_tag").filter(|tag| is_ec2_instance(tag)),
            field("product_name").filter(|name| is_ec2_type(name)),
        ),
        Some((.., CloudProvider::DigitalOcean) | (_, "Hetzner", _)) => (serial_number(), None),
        _ => (None, None),
    };
    Some(Cloud { provider, region: None, instance_id, instance_type })
}

/// `i-` and 8 or 17 hexadecimal digits.
fn is_ec2_instance(tag: &str) -> bool {
    tag.strip_prefix("i-")
        .is_some_and(|digits| matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// `m5.large`, `u-6tb1.metal`.
fn is_ec2_type(name: &str) -> bool {
    let allowed = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.split_once('.').is_some_and(|(family, size)| allowed(family) && allowed(size))
}

/// Either alone begins with these three digits by chance, once in 4,096 machines.
fn is_ec2_on_xen(tree: &Tree) -> bool {
    let begins =
        |path: &str| tree.value(path).is_some_and(|uuid| uuid.to_ascii_lowercase().starts_with("ec2"));
    begins("sys/hypervisor/uuid") && begins(&format!("{DMI}/product_serial"))
}

/// The part of cloud-init's instance data that everybody may read.
fn of_cloud_init(first: &Tree) -> Option<Cloud> {
    let data: Value = serde_json::from_str(&first.text("run/cloud-init/instance-data.json")?).ok()?;
    let text = |pointer: &str| {
        let text = value(data.pointer(pointer)?.as_str()?)?;
        // cloud-init's ways to say that it does not know, or that it is not for everybody.
        let unknown = ["unknown", "none", "null", "n/a"].contains(&text.to_ascii_lowercase().as_str());
        (!unknown && !text.starts_with("redacted")).then_some(text)
    };
    let name = text("/v1/cloud_id").or_else(|| text("/v1/cloud_name")).or_else(|| text("/v1/cloud-name"))?;
    let (_, provider) = NAMES.iter().find(|(known, _)| *known == name)?;
    Some(Cloud {
        provider: *provider,
        region: text("/v1/region"),
        instance_id: text("/v1/instance_id").or_else(|| text("/v1/instance-id")),
        instance_type: match provider {
            CloudProvider::Aws => text("/ds/meta_data/instance-type"),
            CloudProvider::Azure => text("/ds/meta_data/imds/compute/vmSize"),
            _ => None,
        },
    })
}
