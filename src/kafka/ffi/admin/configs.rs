//! One value of a topic's configuration (DescribeConfigs).

use std::ffi::CString;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka_sys::{self as sys, rd_kafka_admin_op_t as Op};

use super::super::{elements, failed, rd_kafka_event_error, text_at, timeout_ms};
use super::{Event, Questions};

impl Questions<'_> {
    /// The value of one of a topic's settings; absent when nobody says it in time, for instance
    /// because the user may not describe configurations. Waits, and must be the only question of its kind on
    /// `self`.
    pub fn topic_config(&self, topic: &str, setting: &str, timeout: Duration) -> Option<String> {
        let topic = CString::new(topic).ok()?;
        let options = self.options(Op::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, 0, timeout, false);
        // SAFETY: the name is NUL-terminated and copied; the resource is ours, null when librdkafka
        // does not take the name, and destroyed once. Client, options and queue are alive; librdkafka copies
        // resources and options into the question.
        unsafe {
            let resource = sys::rd_kafka_ConfigResource_new(
                sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
                topic.as_ptr(),
            );
            let mut resources = [NonNull::new(resource)?.as_ptr()];
            sys::rd_kafka_DescribeConfigs(
                self.client.as_ptr(),
                resources.as_mut_ptr(),
                resources.len(),
                options.0.as_ptr(),
                self.queue.as_ptr(),
            );
            sys::rd_kafka_ConfigResource_destroy(resource);
        }
        // SAFETY: the queue is alive; the event is ours, and `Event` destroys it once.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue.as_ptr(), timeout_ms(timeout)) };
        let event = Event(NonNull::new(event)?);
        // SAFETY: the event is alive, and all that is read lives in it: the result (null unless it is
        // of its type), its resources, their entries (none where the broker gave an error), and the entries' texts. A value is null when it
        // is secret.
        unsafe {
            if failed(rd_kafka_event_error(event.0.as_ptr())).is_some() {
                return None;
            }
            let result = sys::rd_kafka_event_DescribeConfigs_result(event.0.as_ptr());
            if result.is_null() {
                return None;
            }
            let mut count = 0;
            let resources = sys::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
            for resource in elements(resources.cast_const(), count) {
                let mut count = 0;
                let entries = sys::rd_kafka_ConfigResource_configs(*resource, &raw mut count);
                for entry in elements(entries.cast_const(), count) {
                    if text_at(sys::rd_kafka_ConfigEntry_name(*entry)) == Some(setting) {
                        return text_at(sys::rd_kafka_ConfigEntry_value(*entry)).map(str::to_owned);
                    }
                }
            }
        }
        None
    }
}
