//! Objects that are not the operator's cost it nothing: it lists and watches its own by name and label.
use fateh_tests::{api_proxy, kubernetes, program::Program, ready_node};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

const OBJECTS: usize = 5_000;

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_objects_of_others_do_not_move_the_operators_memory() {
    let client = kubernetes().await;
    let api =
        api_proxy::start(&client, std::sync::Arc::new(|asked, upstream| Box::pin(api_proxy::forward(asked, upstream))))
            .await;
    let program = Program::start("operator-bystanders", &api, &["--resync-interval=5"]).await;
    ready_node(&client, "crowded", json!({})).await;
    let namespaces = Api::<Namespace>::all(client.clone());
    let crowd = json!({"metadata": {"name": "crowd"}});
    namespaces.create(&PostParams::default(), &serde_json::from_value(crowd).unwrap()).await.unwrap();
    let secrets = Api::<Secret>::namespaced(client.clone(), "crowd");
    let maps = Api::<ConfigMap>::namespaced(client.clone(), "crowd");
    let filling = "x".repeat(2_000);
    let make = async |index: usize| {
        let object = |kind: &str| json!({"kind": kind, "metadata": {"name": format!("object-{index}")}, "data": {}});
        let mut secret: Secret = serde_json::from_value(object("Secret")).unwrap();
        secret.string_data = Some([("key".to_owned(), filling.clone())].into());
        let mut map: ConfigMap = serde_json::from_value(object("ConfigMap")).unwrap();
        map.data = Some([("key".to_owned(), filling.clone())].into());
        let create = PostParams::default();
        futures::future::try_join(secrets.create(&create, &secret), async {
            maps.create(&create, &map).await.map(|_| ())
        })
        .await
        .map(drop)
    };
    // Everything is listed anew every 5 s, so a listing that took in others' objects would show within two.
    let interval = std::time::Duration::from_secs(11);
    tokio::time::sleep(interval).await;
    let before = program.memory().await;
    for index in (0..OBJECTS).step_by(20) {
        futures::future::try_join_all((index..index + 20).map(&make)).await.unwrap();
    }
    tokio::time::sleep(interval).await;
    let after = program.memory().await;
    println!("resident memory before and after {OBJECTS} Secrets and ConfigMaps of others: {before} kB, {after} kB");
    assert!(after < before + 1024, "{before} kB before, {after} kB after");
    fateh_tests::delete_node(&client, "crowded").await;
    program.stop().await;
    namespaces.delete("crowd", &DeleteParams::default()).await.unwrap();
}
