//! The proxy in front of the apiserver: what it forwards, and what it does to other requests.

use std::time::Duration;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use vpn_operator_testbed::{Answer, ApiProxy, ApiRequest, ControlPlane, Line, Moment, eventually};

const DEADLINE: Duration = Duration::from_secs(60);

/// The `ConfigMap`s of a namespace of the test's own: directly, and through the proxy.
async fn config_maps(proxy: &ApiProxy) -> (Api<ConfigMap>, Api<ConfigMap>) {
    let plane = ControlPlane::shared().await.unwrap();
    let namespace = plane.create_namespace("proxy").await.unwrap();
    let options = KubeConfigOptions::default();
    let kubeconfig = Kubeconfig::read_from(proxy.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    let through = Client::try_from(config).unwrap();
    (
        Api::namespaced(plane.client().await.unwrap(), &namespace),
        Api::namespaced(through, &namespace),
    )
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
}

fn is_write(request: &ApiRequest) -> bool {
    request.is_write()
}

#[tokio::test]
async fn requests_and_watches_are_forwarded_and_recorded() {
    let proxy = ApiProxy::start(ControlPlane::shared().await.unwrap()).unwrap();
    let (direct, through) = config_maps(&proxy).await;
    let version = through.list(&ListParams::default()).await.unwrap().metadata;
    let watch = through
        .watch(&WatchParams::default(), &version.resource_version.unwrap())
        .await
        .unwrap();
    pin_mut!(watch);
    direct
        .create(&PostParams::default(), &config_map("seen"))
        .await
        .unwrap();
    let event = tokio::time::timeout(DEADLINE, watch.next()).await.unwrap();
    assert!(matches!(event, Some(Ok(WatchEvent::Added(_)))), "{event:?}");
    through
        .create(&PostParams::default(), &config_map("made"))
        .await
        .unwrap();
    assert!(direct.get("made").await.is_ok());
    let kinds: Vec<String> = proxy.requests_since(0).iter().map(ApiRequest::kind).collect();
    assert_eq!(kinds, ["List configmaps", "Watch configmaps", "Create configmaps"]);
    let latest = &proxy.requests_since(2)[0];
    assert_eq!((latest.number, latest.about()), (3, Some("made")));
}

#[tokio::test]
async fn a_request_is_held_before_or_after_its_effect() {
    let proxy = ApiProxy::start(ControlPlane::shared().await.unwrap()).unwrap();
    let (direct, through) = config_maps(&proxy).await;
    for moment in [Moment::Before, Moment::After] {
        // Of three requests, the second is held; its client waits for the outcome.
        let names = ["one", "two", "three"].map(|number| format!("{number}-{moment:?}").to_lowercase());
        let hold = proxy.hold(moment, 1, is_write);
        through
            .create(&PostParams::default(), &config_map(&names[0]))
            .await
            .unwrap();
        let held = config_map(&names[1]);
        let parameters = PostParams::default();
        let creation = through.create(&parameters, &held);
        pin_mut!(creation);
        let reached = async {
            let reached = hold.reached(DEADLINE).await.unwrap();
            assert_eq!(reached.about(), Some(names[1].as_str()));
            let is_there = direct.get_opt(&names[1]).await.unwrap().is_some();
            assert_eq!(is_there, moment == Moment::After);
            through
                .create(&PostParams::default(), &config_map(&names[2]))
                .await
                .unwrap();
            assert_eq!(hold.held().len(), 1);
        };
        tokio::select! {
            biased;
            answer = &mut creation => panic!("answered while it was held: {answer:?}"),
            () = reached => {}
        }
        hold.release();
        creation.await.unwrap();
        assert!(direct.get(&names[1]).await.is_ok());
    }
}

#[tokio::test]
async fn a_dropped_hold_loses_the_held_request() {
    let proxy = ApiProxy::start(ControlPlane::shared().await.unwrap()).unwrap();
    let (direct, through) = config_maps(&proxy).await;
    for (moment, took_effect) in [(Moment::Before, false), (Moment::After, true)] {
        let name = format!("held-{moment:?}").to_lowercase();
        let hold = proxy.hold(moment, 0, is_write);
        let (held, parameters) = (config_map(&name), PostParams::default());
        let lost = async {
            hold.reached(DEADLINE).await.unwrap();
            drop(hold);
        };
        let (answer, ()) = tokio::join!(through.create(&parameters, &held), lost);
        assert!(answer.is_err());
        assert_eq!(direct.get_opt(&name).await.unwrap().is_some(), took_effect, "{name}");

        let name = format!("lost-{moment:?}").to_lowercase();
        let _lost = proxy.lose(moment, Some(1), is_write);
        assert!(through.create(&parameters, &config_map(&name)).await.is_err());
        assert_eq!(direct.get_opt(&name).await.unwrap().is_some(), took_effect, "{name}");
    }
}

#[tokio::test]
async fn responses_can_be_replaced() {
    let proxy = ApiProxy::start(ControlPlane::shared().await.unwrap()).unwrap();
    let (_, through) = config_maps(&proxy).await;
    let refusal = Answer::refusal(409, "Conflict", "another write was faster");
    let conflict = proxy.answer(refusal, None, is_write);
    for _ in 0..2 {
        let refused = through.create(&PostParams::default(), &config_map("new")).await;
        assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 409));
    }
    drop(conflict);
    through
        .create(&PostParams::default(), &config_map("new"))
        .await
        .unwrap();
    let empty = json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []});
    let _stale = proxy.answer(Answer::body(empty), Some(1), |request| !request.is_write());
    assert!(through.list(&ListParams::default()).await.unwrap().items.is_empty());
    assert!(!through.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn connections_can_be_closed_or_silenced() {
    let proxy = ApiProxy::start(ControlPlane::shared().await.unwrap()).unwrap();
    let (direct, through) = config_maps(&proxy).await;
    let version = through.list(&ListParams::default()).await.unwrap().metadata;
    let version = version.resource_version.unwrap();
    let watch = through.watch(&WatchParams::default(), &version).await.unwrap();
    pin_mut!(watch);

    proxy.set_line(Line::Silent);
    direct
        .create(&PostParams::default(), &config_map("unseen"))
        .await
        .unwrap();
    let (before, everything) = (proxy.last_number(), ListParams::default());
    let listed = through.list(&everything);
    pin_mut!(listed);
    let arrived = eventually("the list has been asked for", DEADLINE, async || {
        if proxy.last_number() > before {
            Ok(())
        } else {
            Err("no")
        }
    });
    tokio::select! {
        biased;
        _ = &mut listed => panic!("the list was answered"),
        _ = watch.next() => panic!("the watch brought something"),
        arrived = arrived => arrived.unwrap(),
    }
    proxy.set_line(Line::Open);
    assert_eq!(listed.await.unwrap().items.len(), 1);
    let event = tokio::time::timeout(DEADLINE, watch.next()).await.unwrap();
    assert!(matches!(event, Some(Ok(_))), "{event:?}");

    proxy.set_line(Line::Closed);
    let ended = tokio::time::timeout(DEADLINE, async { while let Some(Ok(_)) = watch.next().await {} });
    ended.await.expect("the watch ends with the line");
    assert!(through.list(&ListParams::default()).await.is_err());
    proxy.set_line(Line::Open);
    assert!(through.list(&ListParams::default()).await.is_ok());
}
