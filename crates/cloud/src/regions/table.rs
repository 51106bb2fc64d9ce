//! The regions that are known, with the hosts of the VPN API and of IAM in each.

use crate::regions::cloud::Cloud;

struct Region {
    id: &'static str,
    vpn: Option<&'static str>,
    iam: Option<&'static str>,
}

const fn region(id: &'static str, vpn: Option<&'static str>, iam: Option<&'static str>) -> Region {
    Region { id, vpn, iam }
}

/// From the region files of the official Python SDK, version 3.1.219: `huaweicloudsdkvpn/v5/region/vpn_region.py` and
/// `huaweicloudsdkiam/v3/region/iam_region.py`. `None`: the SDK has no host for the region.
const HUAWEI: &[Region] = &[
    region(
        "ae-ad-1",
        Some("vpn.ae-ad-1.myhuaweicloud.com"),
        Some("iam.ae-ad-1.myhuaweicloud.com"),
    ),
    region("af-north-1", Some("vpn.af-north-1.myhuaweicloud.com"), None),
    region(
        "af-south-1",
        Some("vpn.af-south-1.myhuaweicloud.com"),
        Some("iam.af-south-1.myhuaweicloud.com"),
    ),
    region(
        "ap-southeast-1",
        Some("vpn.ap-southeast-1.myhuaweicloud.com"),
        Some("iam.ap-southeast-1.myhuaweicloud.com"),
    ),
    region(
        "ap-southeast-2",
        Some("vpn.ap-southeast-2.myhuaweicloud.com"),
        Some("iam.ap-southeast-2.myhuaweicloud.com"),
    ),
    region(
        "ap-southeast-3",
        Some("vpn.ap-southeast-3.myhuaweicloud.com"),
        Some("iam.ap-southeast-3.myhuaweicloud.com"),
    ),
    region(
        "ap-southeast-4",
        Some("vpn.ap-southeast-4.myhuaweicloud.com"),
        Some("iam.ap-southeast-4.myhuaweicloud.com"),
    ),
    region("ap-southeast-5", Some("vpn.ap-southeast-5.myhuaweicloud.com"), None),
    region(
        "cn-east-2",
        Some("vpn.cn-east-2.myhuaweicloud.com"),
        Some("iam.cn-east-2.myhuaweicloud.com"),
    ),
    region(
        "cn-east-3",
        Some("vpn.cn-east-3.myhuaweicloud.com"),
        Some("iam.cn-east-3.myhuaweicloud.com"),
    ),
    region(
        "cn-east-4",
        Some("vpn.cn-east-4.myhuaweicloud.com"),
        Some("iam.cn-east-4.myhuaweicloud.com"),
    ),
    region(
        "cn-east-5",
        Some("vpn.cn-east-5.myhuaweicloud.com"),
        Some("iam.cn-east-5.myhuaweicloud.com"),
    ),
    region(
        "cn-north-1",
        Some("vpn.cn-north-1.myhuaweicloud.com"),
        Some("iam.cn-north-1.myhuaweicloud.com"),
    ),
    region("cn-north-11", Some("vpn.cn-north-11.myhuaweicloud.com"), None),
    region(
        "cn-north-12",
        Some("vpn.cn-north-12.myhuaweicloud.com"),
        Some("iam.cn-north-12.myhuaweicloud.com"),
    ),
    region(
        "cn-north-2",
        Some("vpn.cn-north-2.myhuaweicloud.com"),
        Some("iam.cn-north-2.myhuaweicloud.com"),
    ),
    region(
        "cn-north-4",
        Some("vpn.cn-north-4.myhuaweicloud.com"),
        Some("iam.cn-north-4.myhuaweicloud.com"),
    ),
    region(
        "cn-north-9",
        Some("vpn.cn-north-9.myhuaweicloud.com"),
        Some("iam.cn-north-9.myhuaweicloud.com"),
    ),
    region(
        "cn-south-1",
        Some("vpn.cn-south-1.myhuaweicloud.com"),
        Some("iam.cn-south-1.myhuaweicloud.com"),
    ),
    region(
        "cn-south-2",
        Some("vpn.cn-south-2.myhuaweicloud.com"),
        Some("iam.cn-south-2.myhuaweicloud.com"),
    ),
    region("cn-south-4", Some("vpn.cn-south-4.myhuaweicloud.com"), None),
    region(
        "cn-southwest-2",
        Some("vpn.cn-southwest-2.myhuaweicloud.com"),
        Some("iam.cn-southwest-2.myhuaweicloud.com"),
    ),
    region("cn-southwest-3", Some("vpn.cn-southwest-3.myhuaweicloud.com"), None),
    region("eu-west-0", None, Some("iam.eu-west-0.myhuaweicloud.com")),
    region(
        "eu-west-101",
        Some("vpn.eu-west-101.myhuaweicloud.com"),
        Some("iam.eu-west-101.myhuaweicloud.eu"),
    ),
    region(
        "la-north-2",
        Some("vpn.la-north-2.myhuaweicloud.com"),
        Some("iam.la-north-2.myhuaweicloud.com"),
    ),
    region(
        "la-south-2",
        Some("vpn.la-south-2.myhuaweicloud.com"),
        Some("iam.la-south-2.myhuaweicloud.com"),
    ),
    region(
        "me-east-1",
        Some("vpn.me-east-1.myhuaweicloud.com"),
        Some("iam.me-east-1.myhuaweicloud.com"),
    ),
    region("my-kualalumpur-1", None, Some("iam.my-kualalumpur-1.myhuaweicloud.com")),
    region(
        "na-mexico-1",
        Some("vpn.na-mexico-1.myhuaweicloud.com"),
        Some("iam.na-mexico-1.myhuaweicloud.com"),
    ),
    region(
        "ru-moscow-1",
        Some("vpn.ru-moscow-1.myhuaweicloud.com"),
        Some("iam.ru-moscow-1.myhuaweicloud.com"),
    ),
    region(
        "sa-brazil-1",
        Some("vpn.sa-brazil-1.myhuaweicloud.com"),
        Some("iam.sa-brazil-1.myhuaweicloud.com"),
    ),
    region(
        "tr-west-1",
        Some("vpn.tr-west-1.myhuaweicloud.com"),
        Some("iam.tr-west-1.myhuaweicloud.com"),
    ),
];

/// eu-de, and IAM of eu-nl: the page "Regions and Endpoints" of the Open Telekom Cloud documentation
/// (github.com/opentelekomcloud-docs/regions-and-endpoints). eu-ch2, the Swiss cloud, is not on that page: its hosts
/// stand under `sc.otc.t-systems.com` and IAM is called `iam-pub`, as the `auth_url` of its users shows; the host of the
/// VPN API follows the pattern of its other services.
const OTC: &[Region] = &[
    region(
        "eu-ch2",
        Some("vpn.eu-ch2.sc.otc.t-systems.com"),
        Some("iam-pub.eu-ch2.sc.otc.t-systems.com"),
    ),
    region(
        "eu-de",
        Some("vpn.eu-de.otc.t-systems.com"),
        Some("iam.eu-de.otc.t-systems.com"),
    ),
    region("eu-nl", None, Some("iam.eu-nl.otc.t-systems.com")),
];

/// The host of the VPN API in a known region.
pub(crate) fn vpn_host(cloud: Cloud, region: &str) -> Option<&'static str> {
    find(cloud, region)?.vpn
}

/// The host of IAM in a known region that has one of its own.
pub(crate) fn iam_host(cloud: Cloud, region: &str) -> Option<&'static str> {
    find(cloud, region)?.iam
}

fn find(cloud: Cloud, region: &str) -> Option<&'static Region> {
    let regions = match cloud {
        Cloud::Huawei => HUAWEI,
        Cloud::Otc => OTC,
    };
    regions.iter().find(|known| known.id == region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_belongs_to_its_cloud_and_contains_its_region() {
        for (regions, domains) in [
            (HUAWEI, &["myhuaweicloud.com", "myhuaweicloud.eu"][..]),
            (OTC, &["otc.t-systems.com"]),
        ] {
            for region in regions {
                for host in region.vpn.iter().chain(&region.iam) {
                    assert!(domains.iter().any(|domain| host.ends_with(domain)), "{host}");
                    assert!(host.split('.').any(|label| label == region.id), "{host}");
                }
            }
            assert!(
                regions.is_sorted_by_key(|region| region.id),
                "each region once, in order"
            );
        }
    }
}
