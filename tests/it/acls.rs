//! Adds and removes Kafka permissions, which rdkafka's own administration client cannot do.

#![allow(
    unsafe_code,
    reason = "the C interface of librdkafka; each block says why it is sound"
)]

use std::ffi::CString;
use std::ptr;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka_sys::{
    self as sys, rd_kafka_AclOperation_t as Operation,
    rd_kafka_AclPermissionType_t as PermissionType, rd_kafka_ResourcePatternType_t as PatternType,
    rd_kafka_ResourceType_t as ResourceType,
};

const LIMIT_MS: i32 = 30_000;

/// Permissions of one user on topics.
pub struct Acls {
    client: BaseProducer,
    principal: CString,
}

impl Acls {
    /// `bootstrap`: a listener whose users may change permissions.
    pub fn new(bootstrap: &str, user: &str) -> Self {
        let client = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .create();
        Self {
            client: client.expect("a client can be made"),
            principal: CString::new(format!("User:{user}")).unwrap(),
        }
    }

    /// Allows it; `*` is every topic.
    pub fn allow(&self, operation: Operation, topic: &str) {
        self.change(operation, topic, |client, acl, queue| {
            // SAFETY: all are alive during the call; librdkafka copies the acl; null options are the
            // defaults.
            unsafe { sys::rd_kafka_CreateAcls(client, acl, 1, ptr::null(), queue) };
        });
    }

    /// Takes it away again.
    pub fn forbid(&self, operation: Operation, topic: &str) {
        self.change(operation, topic, |client, acl, queue| {
            // SAFETY: as above; a filter and a binding are the same type.
            unsafe { sys::rd_kafka_DeleteAcls(client, acl, 1, ptr::null(), queue) };
        });
    }

    fn change(
        &self,
        operation: Operation,
        topic: &str,
        ask: impl Fn(
            *mut sys::rd_kafka_t,
            *mut *mut sys::rd_kafka_AclBinding_t,
            *mut sys::rd_kafka_queue_t,
        ),
    ) {
        let topic = CString::new(topic).unwrap();
        // SAFETY: the strings live until the end of the block and are copied; every pointer is
        // checked; what is made is destroyed once, after its last use.
        unsafe {
            let mut acl = sys::rd_kafka_AclBinding_new(
                ResourceType::RD_KAFKA_RESOURCE_TOPIC,
                topic.as_ptr(),
                PatternType::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
                self.principal.as_ptr(),
                c"*".as_ptr(),
                operation,
                PermissionType::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
                ptr::null_mut(),
                0,
            );
            assert!(!acl.is_null(), "the acl is well formed");
            let client = self.client.client().native_ptr();
            let queue = sys::rd_kafka_queue_new(client);
            ask(client, &raw mut acl, queue);
            let event = sys::rd_kafka_queue_poll(queue, LIMIT_MS);
            assert!(!event.is_null(), "kafka answers");
            let error = sys::rd_kafka_event_error(event) as i32;
            assert_eq!(error, 0, "kafka changes the acl");
            sys::rd_kafka_event_destroy(event);
            sys::rd_kafka_queue_destroy(queue);
            sys::rd_kafka_AclBinding_destroy(acl);
        }
    }
}
