//! Faults that wait for their request.

use crate::admin::{FaultEntry, FaultName, FaultRequest};
use crate::operations::SimulatedOperation;

/// The faults that have hits left, oldest first.
#[derive(Debug, Default)]
pub(crate) struct PendingFaults {
    entries: Vec<FaultEntry>,
    last_id: u64,
}

/// The parts of a request that faults match.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FaultTarget<'a> {
    pub operation: Option<SimulatedOperation>,
    pub access_key: Option<&'a str>,
    pub path_and_query: &'a str,
}

impl PendingFaults {
    /// Adds a fault, unless it is invalid.
    pub(crate) fn add(&mut self, request: FaultRequest) -> Result<FaultEntry, String> {
        check(&request)?;
        self.last_id += 1;
        let entry = FaultEntry {
            id: self.last_id,
            hits: 0,
            request,
        };
        self.entries.push(entry.clone());
        Ok(entry)
    }

    /// Removes a fault; returns whether there was one.
    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.id != id);
        self.entries.len() < before
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(crate) fn list(&self) -> &[FaultEntry] {
        &self.entries
    }

    /// The faults that hit this request: the oldest that matches, and with it the oldest latency.
    pub(crate) fn hit(&mut self, target: FaultTarget<'_>) -> Vec<FaultRequest> {
        let mut hits = Vec::new();
        for of_latency in [true, false] {
            let fitting = self.entries.iter_mut().filter(|entry| {
                (entry.request.fault == FaultName::Latency) == of_latency && matches(&entry.request, target)
            });
            let mut found = None;
            for entry in fitting {
                // Each matching fault that must still let requests pass counts this one.
                if entry.request.skip == 0 {
                    found = Some(entry);
                    break;
                }
                entry.request.skip -= 1;
            }
            if let Some(entry) = found {
                entry.hits += 1;
                hits.push(entry.request.clone());
            }
        }
        self.entries
            .retain(|entry| entry.request.times == 0 || entry.hits < entry.request.times);
        hits
    }
}

fn matches(fault: &FaultRequest, target: FaultTarget<'_>) -> bool {
    let operation = fault.operation.as_deref().and_then(SimulatedOperation::parse);
    (fault.operation.is_none() || operation == target.operation)
        && (fault.access_key.is_none() || fault.access_key.as_deref() == target.access_key)
        && fault
            .path_contains
            .as_deref()
            .is_none_or(|text| target.path_and_query.contains(text))
}

fn check(fault: &FaultRequest) -> Result<(), String> {
    let name = fault.fault;
    if let Some(operation) = &fault.operation
        && SimulatedOperation::parse(operation).is_none()
    {
        let names: Vec<_> = SimulatedOperation::ALL
            .iter()
            .map(|operation| operation.name())
            .collect();
        return Err(format!(
            "there is no operation \"{operation}\"; the operations are {} (or their IAM actions)",
            names.join(", ")
        ));
    }
    let takes = |field: &str, given: bool, by: &[FaultName]| match given && !by.contains(&name) {
        true => Err(format!("the fault \"{}\" takes no {field}", name.text())),
        false => Ok(()),
    };
    let throttled = [
        FaultName::ThrottledByGateway,
        FaultName::ThrottledByService,
        FaultName::QueueFull,
        FaultName::Error,
    ];
    takes("ms", fault.ms.is_some(), &[FaultName::Latency, FaultName::LateCommit])?;
    takes("status", fault.status.is_some(), &[FaultName::Error])?;
    takes("code", fault.code.is_some(), &[FaultName::Error])?;
    takes("message", fault.message.is_some(), &[FaultName::Error])?;
    takes("bytes", fault.bytes.is_some(), &[FaultName::HugeBody])?;
    takes("retry_after", fault.retry_after.is_some(), &throttled)?;
    if fault.commit
        && matches!(
            name,
            FaultName::ThrottledByGateway
                | FaultName::ThrottledByService
                | FaultName::QueueFull
                | FaultName::TruncatedBody
                | FaultName::LateCommit
                | FaultName::VanishAfterCreate
                | FaultName::VanishWhenSettled
        )
    {
        return Err(format!(
            "the fault \"{}\" takes no commit: whether it takes effect is in its nature",
            name.text()
        ));
    }
    match name {
        FaultName::Latency if fault.ms.is_none() => Err("the fault \"latency\" needs ms".to_owned()),
        FaultName::Error if !fault.status.is_some_and(|status| (200..=599).contains(&status)) => {
            Err("the fault \"error\" needs a status from 200 to 599".to_owned())
        }
        FaultName::HugeBody if fault.bytes.is_none() => Err("the fault \"huge-body\" needs bytes".to_owned()),
        _ if fault
            .retry_after
            .as_deref()
            .is_some_and(|text| text.chars().any(|c| !(' '..='~').contains(&c))) =>
        {
            Err("retry_after must be printable ASCII".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: FaultTarget<'static> = FaultTarget {
        operation: Some(SimulatedOperation::CreateCustomerGateway),
        access_key: Some("AK"),
        path_and_query: "/v5/p/customer-gateways?limit=1",
    };

    fn hits(faults: &mut PendingFaults) -> usize {
        faults.hit(TARGET).len()
    }

    #[test]
    fn a_fault_skips_the_configured_number_of_requests() {
        let mut faults = PendingFaults::default();
        let mut hold = FaultRequest::once(FaultName::Hold);
        (hold.skip, hold.operation) = (2, Some("CreateCustomerGateway".to_owned()));
        faults.add(hold).unwrap();
        let other = FaultTarget {
            operation: Some(SimulatedOperation::ListCustomerGateways),
            ..TARGET
        };
        let hits: Vec<usize> = [TARGET, other, TARGET, TARGET, TARGET]
            .map(|target| faults.hit(target).len())
            .to_vec();
        assert_eq!(hits, [0, 0, 0, 1, 0]);
        assert!(faults.list().is_empty());
    }

    #[test]
    fn a_fault_hits_the_configured_number_of_times() {
        let mut faults = PendingFaults::default();
        faults
            .add(FaultRequest {
                times: 2,
                ..FaultRequest::once(FaultName::Hold)
            })
            .unwrap();
        assert_eq!([hits(&mut faults), hits(&mut faults), hits(&mut faults)], [1, 1, 0]);
        let forever = faults
            .add(FaultRequest {
                times: 0,
                ..FaultRequest::once(FaultName::Hold)
            })
            .unwrap();
        assert!((0..10).all(|_| hits(&mut faults) == 1));
        assert!(faults.remove(forever.id));
        assert!(!faults.remove(forever.id));
        assert_eq!(hits(&mut faults), 0);
    }

    #[test]
    fn every_filter_must_match() {
        let fault = FaultRequest::once(FaultName::Hold);
        for (other, expected) in [
            (
                FaultRequest {
                    operation: Some("CreateCustomerGateway".into()),
                    ..fault.clone()
                },
                1,
            ),
            (
                FaultRequest {
                    operation: Some("vpn:customerGateways:create".into()),
                    ..fault.clone()
                },
                1,
            ),
            (
                FaultRequest {
                    operation: Some("GetCustomerGateway".into()),
                    ..fault.clone()
                },
                0,
            ),
            (
                FaultRequest {
                    access_key: Some("AK".into()),
                    ..fault.clone()
                },
                1,
            ),
            (
                FaultRequest {
                    access_key: Some("other".into()),
                    ..fault.clone()
                },
                0,
            ),
            (
                FaultRequest {
                    path_contains: Some("limit=1".into()),
                    ..fault.clone()
                },
                1,
            ),
            (
                FaultRequest {
                    path_contains: Some("limit=2".into()),
                    ..fault.clone()
                },
                0,
            ),
        ] {
            let mut faults = PendingFaults::default();
            faults.add(other.clone()).unwrap();
            assert_eq!(hits(&mut faults), expected, "{other:?}");
        }
    }

    #[test]
    fn latency_combines_with_another_fault() {
        let mut faults = PendingFaults::default();
        faults
            .add(FaultRequest {
                ms: Some(1),
                ..FaultRequest::once(FaultName::Latency)
            })
            .unwrap();
        faults.add(FaultRequest::once(FaultName::LostAnswer)).unwrap();
        faults.add(FaultRequest::once(FaultName::Hold)).unwrap();
        let names: Vec<_> = faults.hit(TARGET).into_iter().map(|fault| fault.fault).collect();
        assert_eq!(names, [FaultName::Latency, FaultName::LostAnswer]);
    }

    #[test]
    fn an_invalid_fault_is_refused() {
        for (fault, words) in [
            (FaultRequest::once(FaultName::Latency), "needs ms"),
            (FaultRequest::once(FaultName::Error), "needs a status"),
            (FaultRequest::once(FaultName::HugeBody), "needs bytes"),
            (
                FaultRequest {
                    status: Some(500),
                    ..FaultRequest::once(FaultName::Hold)
                },
                "takes no status",
            ),
            (
                FaultRequest {
                    commit: true,
                    ..FaultRequest::once(FaultName::QueueFull)
                },
                "takes no commit",
            ),
            (
                FaultRequest {
                    operation: Some("Nap".into()),
                    ..FaultRequest::once(FaultName::Hold)
                },
                "CountCustomerGat",
            ),
        ] {
            let error = PendingFaults::default().add(fault).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
