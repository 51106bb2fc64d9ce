//! The clouds that have this API.

/// A cloud, which determines the hosts of its regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cloud {
    /// Huawei Cloud.
    Huawei,
    /// Open Telekom Cloud.
    Otc,
}
