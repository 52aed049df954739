//! What holds something: tables, queues, the key, secrets.

use aws_sdk_dynamodb::types::{ProjectionType, ScalarAttributeType};
use domain::{message::QueueName, policy::MOST_RECEIVES};
use serde_json::json;
use store::{Table, tables};

use super::{Resources, protected};
use crate::aws::{
    functions::{self, Trigger},
    roles::sub,
};

/// How long messages that were put aside are kept, in seconds: fourteen days, as long as SQS keeps any.
const PUT_ASIDE_FOR: u32 = 14 * 24 * 3600;

pub(super) fn resources() -> Resources {
    let mut all = key();
    all.extend(secrets());
    all.extend(Table::ALL.into_iter().filter(|table| table.is_on_aws()).flat_map(table));
    all.extend(QueueName::ALL.into_iter().flat_map(queue));
    all
}

/// A queue's logical name.
pub(super) fn logical(queue: QueueName) -> &'static str {
    match queue {
        QueueName::Doorbells => "Doorbells",
        QueueName::Reconciles => "Reconciles",
        QueueName::Disks => "Disks",
    }
}

fn key() -> Resources {
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:root")},
            "Action": "kms:*", "Resource": "*"
        }]
    });
    let properties = json!({
        "Description": sub("${Deployment}: seals the environments and commands of jobs"),
        "EnableKeyRotation": true, "PendingWindowInDays": 30, "KeyPolicy": policy
    });
    vec![
        ("# Key".into(), json!("Who may use the key is said by the account's own policies: each function's role.")),
        ("Key".into(), protected("AWS::KMS::Key", &properties)),
        (
            "KeyAlias".into(),
            json!({
                "Type": "AWS::KMS::Alias",
                "Properties": {"AliasName": sub("alias/${Deployment}"), "TargetKeyId": {"Ref": "Key"}}
            }),
        ),
    ]
}

fn secrets() -> Resources {
    let hashes = r#""admin_token_sha256": "${AdminTokenSha256}", "service_token_sha256": "${ServiceTokenSha256}""#;
    let service = format!(r#"{{{hashes}, "login_table": ${{LoginTable}}}}"#);
    vec![
        (
            "ServiceSecret".into(),
            json!({
                "Type": "AWS::SecretsManager::Secret",
                "DeletionPolicy": "Delete",
                "UpdateReplacePolicy": "Delete",
                "Properties": {"Description": sub("${Deployment}: the admin's and the service token, and the login table"), "SecretString": sub(&service)}
            }),
        ),
        (
            "# OriginSecret".into(),
            json!(
                "What CloudFront adds to each request. Whoever changes this resource makes a new secret, which shuts CloudFront out until\nit is deployed anew: so it depends on no parameter."
            ),
        ),
        (
            "OriginSecret".into(),
            json!({
                "Type": "AWS::SecretsManager::Secret",
                "DeletionPolicy": "Delete",
                "UpdateReplacePolicy": "Delete",
                "Properties": {
                    "Description": "What the front door adds to each request",
                    "GenerateSecretString": {"PasswordLength": 48, "ExcludePunctuation": true}
                }
            }),
        ),
    ]
}

fn table(table: Table) -> Resources {
    let attribute =
        |(name, kind): (&str, &ScalarAttributeType)| json!({"AttributeName": name, "AttributeType": kind.as_str()});
    let keys = |hash: &str, range: &str| json!([{"AttributeName": hash, "KeyType": "HASH"}, {"AttributeName": range, "KeyType": "RANGE"}]);
    let (hash, range) = tables::KEY;
    let mut attributes = vec![(hash, &ScalarAttributeType::S), (range, &ScalarAttributeType::S)];
    attributes.extend(
        table
            .indexes()
            .iter()
            .flat_map(|index| [(index.hash, &ScalarAttributeType::S), (index.range, &index.range_type)]),
    );
    let mut properties = json!({
        "TableName": sub(format!("${{Deployment}}-{}", table.name())),
        "BillingMode": "PAY_PER_REQUEST",
        "DeletionProtectionEnabled": true,
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": true},
        "TimeToLiveSpecification": {"AttributeName": tables::TTL, "Enabled": true},
        "AttributeDefinitions": attributes.into_iter().map(attribute).collect::<Vec<_>>(),
        "KeySchema": keys(hash, range)
    });
    let index = |index: &tables::Index| {
        let projection: &ProjectionType = &index.projection;
        json!({
            "IndexName": index.name, "KeySchema": keys(index.hash, index.range),
            "Projection": {"ProjectionType": projection.as_str()}
        })
    };
    let indexes = table.indexes().iter().map(index).collect::<Vec<_>>();
    if !indexes.is_empty() {
        properties["GlobalSecondaryIndexes"] = json!(indexes);
    }
    let mut letters = table.name().chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    let name = format!("{}Table", first.into_iter().chain(letters).collect::<String>());
    let why = "Encrypted with DynamoDB's own key, which costs nothing: what is secret in a row is sealed under our key before it is written,\nand with our key here each role would need that key too.";
    vec![(format!("# {name}"), json!(why)), (name, protected("AWS::DynamoDB::Table", &properties))]
}

/// A queue with its dead letters. What is in them are hints, which the sweep gives again: they need no protection.
fn queue(queue: QueueName) -> Resources {
    let consumer = functions::all().into_iter().find(|function| function.trigger == Trigger::Queue(queue));
    let invisible = consumer.expect("a queue's consumer").timeout().as_secs() * 6;
    let (name, end) = (logical(queue), if queue.is_fifo() { ".fifo" } else { "" });
    let made = |suffix: &str| {
        let mut properties = json!({"QueueName": sub(format!("${{Deployment}}-{}{suffix}{end}", queue.name()))});
        if queue.is_fifo() {
            properties["FifoQueue"] = json!(true);
        }
        properties["SqsManagedSseEnabled"] = json!(true);
        properties
    };
    let (mut living, mut dead) = (made(""), made("-dead"));
    dead["MessageRetentionPeriod"] = json!(PUT_ASIDE_FOR);
    living["VisibilityTimeout"] = json!(invisible);
    living["RedrivePolicy"] = json!({
        "deadLetterTargetArn": {"Fn::GetAtt": [format!("{name}Dead"), "Arn"]}, "maxReceiveCount": MOST_RECEIVES
    });
    let resource = |properties| {
        json!({
            "Type": "AWS::SQS::Queue", "DeletionPolicy": "Delete", "UpdateReplacePolicy": "Delete", "Properties": properties
        })
    };
    vec![(name.to_owned(), resource(living)), (format!("{name}Dead"), resource(dead))]
}
