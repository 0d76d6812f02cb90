;; A component of the world zentinel:agent@2.0.0 that lets everything pass but DELETE: as small as one can be that has
;; every function. It is what the example in `src/lib.rs` runs.
(component
  (core module $code
    (memory (export "memory") 1)
    ;; Strings of get-info: an id, a version, and the one event.
    (data (i32.const 512) "no-delete")
    (data (i32.const 528) "0.1.0")
    (data (i32.const 544) "\30\02\00\00\0f\00\00\00")
    (data (i32.const 560) "request_headers")
    ;; At 1024 everything is zero: allow without edits, an empty text, no error.
    ;; At 1280: block with status 405, without a body and headers.
    (data (i32.const 1280) "\01\00\00\00\95\01")
    ;; At 1536: agent-info.
    (data (i32.const 1536)
      "\00\02\00\00\09\00\00\00" "\00\02\00\00\09\00\00\00" "\10\02\00\00\05\00\00\00"
      "\20\02\00\00\01\00\00\00")

    ;; What a call is told is here, and forgotten with its answer.
    (global $free (mut i32) (i32.const 2048))
    (func (export "realloc") (param $old i32) (param i32) (param i32) (param $size i32) (result i32)
      (local $at i32)
      global.get $free
      i32.const 7
      i32.add
      i32.const -8
      i32.and
      local.tee $at
      local.get $size
      i32.add
      global.set $free
      local.get $at)
    (func $allow (result i32)
      i32.const 2048
      global.set $free
      i32.const 1024)

    (func (export "get-info") (result i32) i32.const 1536)
    (func (export "configure") (param i32 i32) (result i32) call $allow)
    (func (export "on-request-headers") (param $asked i32) (result i32)
      ;; The first letter of the method, which follows the metadata, is a D.
      local.get $asked
      i32.load offset=112
      i32.load8_u
      i32.const 68
      i32.eq
      if (result i32)
        call $allow
        drop
        i32.const 1280
      else
        call $allow
      end)
    (func (export "on-body") (param i32 i32 i32 i32 i32 i32) (result i32) call $allow)
    (func (export "on-response-headers") (param i32 i32 i32 i32 i32) (result i32) call $allow)
    (func (export "health-check") (result i32) call $allow)
    (func (export "shutdown"))
  )
  (core instance $core (instantiate $code))
  (alias core export $core "memory" (core memory $memory))
  (alias core export $core "realloc" (core func $realloc))

  ;; The types of the world. Each has a name of its own because a function that is exported may use no other.
  (type $request-metadata-type (record
    (field "correlation-id" string)
    (field "request-id" string)
    (field "client-ip" string)
    (field "client-port" u16)
    (field "server-name" (option string))
    (field "protocol" string)
    (field "tls-version" (option string))
    (field "route-id" (option string))
    (field "upstream-id" (option string))
    (field "timestamp-ms" u64)
    (field "traceparent" (option string))))
  (export $request-metadata "request-metadata" (type $request-metadata-type))
  (type $header-type (record (field "name" string) (field "value" string)))
  (export $header "header" (type $header-type))
  (type $header-op-type (variant (case "set" $header) (case "add" $header) (case "remove" string)))
  (export $header-op "header-op" (type $header-op-type))
  (type $block-params-type (record
    (field "status" u16)
    (field "body" (option string))
    (field "headers" (list $header))))
  (export $block-params "block-params" (type $block-params-type))
  (type $redirect-params-type (record (field "url" string) (field "status" u16)))
  (export $redirect-params "redirect-params" (type $redirect-params-type))
  (type $decision-type (variant
    (case "allow")
    (case "block" $block-params)
    (case "redirect" $redirect-params)))
  (export $decision "decision" (type $decision-type))
  (type $audit-metadata-type (record
    (field "tags" (list string))
    (field "rule-ids" (list string))
    (field "confidence" (option f32))
    (field "reason-codes" (list string))))
  (export $audit-metadata "audit-metadata" (type $audit-metadata-type))
  (type $agent-response-type (record
    (field "decision" $decision)
    (field "request-headers" (list $header-op))
    (field "response-headers" (list $header-op))
    (field "audit" $audit-metadata)
    (field "needs-more" bool)))
  (export $agent-response "agent-response" (type $agent-response-type))
  (type $agent-info-type (record
    (field "agent-id" string)
    (field "name" string)
    (field "version" string)
    (field "supported-events" (list string))
    (field "max-body-size" u64)
    (field "supports-streaming" bool)))
  (export $agent-info "agent-info" (type $agent-info-type))

  (func $get-info (result $agent-info)
    (canon lift (core func $core "get-info") (memory $memory)))
  (func $configure (param "config" string) (result (result (error string)))
    (canon lift (core func $core "configure") (memory $memory) (realloc $realloc)))
  (func $on-request-headers
    (param "metadata" $request-metadata) (param "method" string) (param "uri" string)
    (param "headers" (list $header)) (result $agent-response)
    (canon lift (core func $core "on-request-headers") (memory $memory) (realloc $realloc)))
  (func $on-body
    (param "correlation-id" string) (param "data" (list u8)) (param "chunk-index" u32)
    (param "is-last" bool) (result $agent-response)
    (canon lift (core func $core "on-body") (memory $memory) (realloc $realloc)))
  (func $on-response-headers
    (param "correlation-id" string) (param "status" u16) (param "headers" (list $header))
    (result $agent-response)
    (canon lift (core func $core "on-response-headers") (memory $memory) (realloc $realloc)))
  (func $health-check (result (result string (error string)))
    (canon lift (core func $core "health-check") (memory $memory)))
  (func $shutdown (canon lift (core func $core "shutdown")))

  (instance $handler
    (export "get-info" (func $get-info))
    (export "configure" (func $configure))
    (export "on-request-headers" (func $on-request-headers))
    (export "on-request-body" (func $on-body))
    (export "on-response-headers" (func $on-response-headers))
    (export "on-response-body" (func $on-body)))
  (export "zentinel:agent/handler@2.0.0" (instance $handler))
  (instance $lifecycle
    (export "health-check" (func $health-check))
    (export "shutdown" (func $shutdown)))
  (export "zentinel:agent/lifecycle@2.0.0" (instance $lifecycle)))
