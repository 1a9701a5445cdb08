//! Amazon S3 and what speaks like it, after OpenTelemetry's conventions for the AWS SDK: a request whose
//! signature names the service (AWS Signature Version 4, in a field or in the query).
//!
//! Bias: a bucket is told where it surely is in the path: of Amazon's hosts, whose names tell, and of
//! addresses and `localhost`, which can't have a bucket before them.

use super::host_and_port;
use super::meaning::{Asking, Detector, Found, Meaning};

pub(super) const DETECTOR: Detector = Detector { head, body: |_, _| None, answer: None };

fn head(asking: &Asking<'_>) -> Found {
    if !is_signed(asking) {
        return Found::No;
    }
    let mut meaning = Meaning::default();
    meaning.add("rpc.system.name", "aws-api");
    let Some((bucket, key)) = place(asking) else { return Found::Yes(meaning) };
    if let Some(operation) = operation(asking, bucket.is_some(), key.is_some()) {
        let method = format!("S3/{operation}");
        meaning.add("rpc.method", &method);
        meaning.name = Some(method.into());
    }
    if let Some(bucket) = bucket {
        meaning.add("aws.s3.bucket", &bucket);
    }
    if let Some(key) = key {
        meaning.add("aws.s3.key", &key);
    }
    for (parameter, attribute) in
        [("uploadId", "aws.s3.upload_id"), ("partNumber", "aws.s3.part_number")]
    {
        if let Some(value) = asking.parameter(parameter) {
            meaning.add(attribute, &super::text(value));
        }
    }
    Found::Yes(meaning)
}

/// Whether its signature is for S3: `…/REGION/s3/aws4_request`.
fn is_signed(asking: &Asking<'_>) -> bool {
    let contains = |text: &[u8], part: &[u8]| memchr::memmem::find(text, part).is_some();
    let field = asking.words.authorization.unwrap_or_default();
    let by_field = field.starts_with(b"AWS4-") && contains(field, b"/s3/aws4_request");
    let credential = asking.parameter("X-Amz-Credential").unwrap_or_default();
    let by_query =
        contains(credential, b"%2Fs3%2Faws4_request") || contains(credential, b"/s3/aws4_request");
    by_field || by_query
}

/// Bucket and key; nothing where it is not known which is which.
fn place(asking: &Asking<'_>) -> Option<(Option<String>, Option<String>)> {
    let host = super::text(host_and_port(asking.host?)?.0);
    let path = super::text(asking.path);
    let path = path.strip_prefix('/')?;
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    if let Some(before) = host.strip_suffix(".amazonaws.com") {
        let service = before.rfind("s3").filter(|at| *at == 0 || before[..*at].ends_with('.'))?;
        if service > 0 {
            return Some((some(&before[..service - 1]), some(path)));
        }
    } else if host != "localhost" && host.parse::<std::net::IpAddr>().is_err() {
        return None;
    }
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    Some((some(bucket), some(key)))
}

/// Name of the operation ("Amazon S3 API Reference"); nothing where parameters ask for another.
fn operation(asking: &Asking<'_>, has_bucket: bool, has_key: bool) -> Option<&'static str> {
    let has = |name: &str| asking.parameter(name).is_some();
    const OTHERS: &[&str] = &[
        "acl",
        "cors",
        "encryption",
        "legal-hold",
        "lifecycle",
        "location",
        "logging",
        "notification",
        "object-lock",
        "policy",
        "replication",
        "restore",
        "retention",
        "select",
        "tagging",
        "torrent",
        "versioning",
        "versions",
        "website",
        "accelerate",
        "analytics",
        "inventory",
        "metrics",
        "ownershipControls",
        "publicAccessBlock",
        "requestPayment",
        "attributes",
    ];
    if OTHERS.iter().any(|other| has(other)) {
        return None;
    }
    Some(match (asking.method, has_bucket, has_key) {
        (b"GET", false, false) => "ListBuckets",
        (b"GET", true, false) if has("uploads") => "ListMultipartUploads",
        (b"GET", true, false) if has("list-type") => "ListObjectsV2",
        (b"GET", true, false) => "ListObjects",
        (b"HEAD", true, false) => "HeadBucket",
        (b"PUT", true, false) => "CreateBucket",
        (b"DELETE", true, false) => "DeleteBucket",
        (b"POST", true, false) if has("delete") => "DeleteObjects",
        (b"GET", true, true) if has("uploadId") => "ListParts",
        (b"GET", true, true) => "GetObject",
        (b"HEAD", true, true) => "HeadObject",
        (b"PUT", true, true) if has("partNumber") && asking.words.has_copy_source => {
            "UploadPartCopy"
        }
        (b"PUT", true, true) if has("partNumber") => "UploadPart",
        (b"PUT", true, true) if asking.words.has_copy_source => "CopyObject",
        (b"PUT", true, true) => "PutObject",
        (b"DELETE", true, true) if has("uploadId") => "AbortMultipartUpload",
        (b"DELETE", true, true) => "DeleteObject",
        (b"POST", true, true) if has("uploads") => "CreateMultipartUpload",
        (b"POST", true, true) if has("uploadId") => "CompleteMultipartUpload",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::meaning::tests::meant;

    #[test]
    fn buckets_keys_and_operations() {
        const SIGNED: &str = "authorization: AWS4-HMAC-SHA256 Credential=AKIA/20240101/eu/s3/aws4_request, SignedHeaders=host";
        let of = |method: &str, host: &str, target: &str| {
            meant(method, target, &format!("host: {host}\n{SIGNED}"), "")
        };
        assert_eq!(
            of("GET", "127.0.0.1:9000", "/photos/a/b.jpg"),
            "S3/GetObject rpc.system.name=aws-api rpc.method=S3/GetObject aws.s3.bucket=photos aws.s3.key=a/b.jpg"
        );
        assert_eq!(
            of("PUT", "photos.s3.eu-west-1.amazonaws.com", "/b.jpg?partNumber=2&uploadId=u"),
            "S3/UploadPart rpc.system.name=aws-api rpc.method=S3/UploadPart aws.s3.bucket=photos \
             aws.s3.key=b.jpg aws.s3.upload_id=u aws.s3.part_number=2"
        );
        assert!(
            of("GET", "s3.amazonaws.com", "/photos?list-type=2").starts_with("S3/ListObjectsV2 ")
        );
        assert_eq!(of("GET", "photos.store.example", "/b.jpg"), "HTTP rpc.system.name=aws-api");
        assert_eq!(
            of("GET", "localhost", "/photos?acl"),
            "HTTP rpc.system.name=aws-api aws.s3.bucket=photos"
        );
        let signed =
            "/k?X-Amz-Credential=AKIA%2F20240101%2Feu%2Fs3%2Faws4_request&X-Amz-Signature=s";
        assert!(meant("GET", signed, "host: b.s3.amazonaws.com", "").starts_with("S3/GetObject "));
    }
}
