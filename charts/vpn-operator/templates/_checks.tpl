{{/* What the schema cannot express of the rules that `vpn-operator run` has for its flags. A test compares both. */}}
{{- define "vpn-operator.checkValues" -}}
{{- include "vpn-operator.checkName" . }}
{{- include "vpn-operator.checkEndpoints" . }}
{{- include "vpn-operator.checkSelector" . }}
{{- include "vpn-operator.checkOwnerTagKey" . }}
{{- include "vpn-operator.checkDurations" . }}
{{- include "vpn-operator.checkLogLevel" . }}
{{- end }}

{{/* Not empty if `extraArgs` contain the flag. The operator then ignores the chart's, apart from its syntax. */}}
{{- define "vpn-operator.inExtraArgs" -}}
{{- range .root.Values.extraArgs }}
{{- if or (eq . $.flag) (hasPrefix (printf "%s=" $.flag) .) }}true{{ end }}
{{- end }}
{{- end }}

{{- define "vpn-operator.checkName" -}}
{{- $name := include "vpn-operator.fullname" . }}
{{- $label := "[a-z0-9]([-a-z0-9]*[a-z0-9])?" }}
{{- if not (regexMatch (printf "^%s(\\.%s)*$" $label $label) $name) }}
{{- $value := ternary "fullnameOverride" (ternary "nameOverride" "fullnameOverride" (not (empty .Values.nameOverride))) (not (empty .Values.fullnameOverride)) }}
{{- fail (printf "%s: %q is not a name for objects; use a-z, 0-9 and -, with a letter or digit at both ends" $value $name) }}
{{- end }}
{{- end }}

{{- define "vpn-operator.checkEndpoints" -}}
{{- range $value, $flag := dict "vpnEndpoint" "--vpn-endpoint" "iamEndpoint" "--iam-endpoint" }}
{{- $text := get $.Values $value }}
{{- if and $text (not (include "vpn-operator.inExtraArgs" (dict "root" $ "flag" $flag))) }}
{{- include "vpn-operator.checkEndpoint" (dict "root" $ "value" $value "text" $text) }}
{{- end }}
{{- end }}
{{- range .Values.allowedEndpoints }}
{{- range regexSplit "," . -1 }}
{{- include "vpn-operator.checkEndpoint" (dict "root" $ "value" "allowedEndpoints" "text" .) }}
{{- end }}
{{- end }}
{{- $recorded := dict }}
{{- range .Values.endpointAliases }}
{{- range regexSplit "," . -1 }}
{{- $pair := regexSplit "=" . 2 }}
{{- if ne (len $pair) 2 }}
{{- fail "endpointAliases: an entry has no `=`; write OLD=NEW with two endpoints" }}
{{- end }}
{{- range $pair }}
{{- include "vpn-operator.checkEndpoint" (dict "root" $ "value" "endpointAliases" "text" .) }}
{{- end }}
{{- $old := include "vpn-operator.endpoint" (first $pair) }}
{{- $new := include "vpn-operator.endpoint" (last $pair) }}
{{- if eq $old $new }}
{{- fail (printf "endpointAliases: %s is an alias of itself; write OLD=NEW with two endpoints" $new) }}
{{- end }}
{{- if ne $old (default $old (get $recorded $new)) }}
{{- fail (printf "endpointAliases: %s is an alias of two endpoints; keep one of them" $new) }}
{{- end }}
{{- $_ := set $recorded $new $old }}
{{- end }}
{{- end }}
{{- range $old := values $recorded }}
{{- if hasKey $recorded $old }}
{{- fail (printf "endpointAliases: %s is an alias and has one; name the endpoint that status.scope records in each pair" $old) }}
{{- end }}
{{- end }}
{{- end }}

{{/* Messages do not repeat the endpoint, which could contain a password. */}}
{{- define "vpn-operator.checkEndpoint" -}}
{{- $text := regexReplaceAll "/+$" (trim .text) "" }}
{{- $host := "(\\[[0-9A-Fa-f:.]+\\]|([^\\s\\x00-\\x1f/?#@\\\\:\\[\\]<>^|%]|%[0-9A-Fa-f]{2})+)" }}
{{- $hint := "write https://host or https://host:port" }}
{{- if not (regexMatch (printf "^https?://+@?%s(:[0-9]*)?$" $host) $text) }}
{{- fail (printf "%s: an endpoint is a scheme, a host and an optional port, without path, query, user name or password; %s" .value $hint) }}
{{- end }}
{{- if and (regexMatch "^https?://+([0-9]{1,3}\\.){3}[0-9]{1,3}(:|$)" $text) (regexMatch "[/.](2(5[6-9]|[6-9][0-9])|[3-9][0-9]{2})([.:]|$)" $text) }}
{{- fail (printf "%s: a number of the IPv4 address is larger than 255; %s" .value $hint) }}
{{- end }}
{{- if gt (len $text) 300 }}
{{- fail (printf "%s: an endpoint has at most 300 characters; %s" .value $hint) }}
{{- end }}
{{- if gt (float64 (regexFind ":[0-9]+$" $text | trimPrefix ":" | default "0")) 65535.0 }}
{{- fail (printf "%s: the port of an endpoint is at most 65535; %s" .value $hint) }}
{{- end }}
{{- if and (hasPrefix "http://" $text) (not (include "vpn-operator.mayBeInsecure" .root)) }}
{{- fail (printf "%s: http:// endpoints are not allowed; %s, or set allowInsecureEndpoints: true for the simulator" .value $hint) }}
{{- end }}
{{- end }}

{{/* Not empty if the operator may allow `http://`, also by what the chart cannot read. */}}
{{- define "vpn-operator.mayBeInsecure" -}}
{{- if or .Values.allowInsecureEndpoints .Values.simulator.enabled .Values.extraEnvFrom }}true{{ end }}
{{- include "vpn-operator.inExtraArgs" (dict "root" . "flag" "--allow-insecure-endpoints") }}
{{- range .Values.extraEnv }}
{{- if eq (toString .name) "VPN_OPERATOR_ALLOW_INSECURE_ENDPOINTS" }}true{{ end }}
{{- end }}
{{- end }}

{{/* One spelling of an endpoint, to compare two of them. */}}
{{- define "vpn-operator.endpoint" -}}
{{- $text := regexReplaceAll "/+$" (trim .) "" | lower }}
{{- regexReplaceAll "^(https://.*):443$|^(http://.*):80$" $text "$1$2" }}
{{- end }}

{{- define "vpn-operator.checkSelector" -}}
{{- $label := "[a-z0-9]([-a-z0-9]*[a-z0-9])?" }}
{{- $word := "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?" }}
{{- $key := printf "(%s(\\.%s)*/)?%s" $label $label $word }}
{{- $exists := printf "!?\\s*%s" $key }}
{{- $equals := printf "%s\\s*(!=|==|=)\\s*(%s)?" $key $word }}
{{- $set := printf "%s\\s+(in|notin)\\s*\\(\\s*(%s)?\\s*(,\\s*(%s)?\\s*)*\\)" $key $word $word }}
{{- $requirement := printf "\\s*(%s|%s|%s)\\s*" $exists $equals $set }}
{{- if and .Values.watchSelector (not (regexMatch (printf "^%s(,%s)*$" $requirement $requirement) .Values.watchSelector)) }}
{{- fail (printf "watchSelector: %q is not a label selector; write requirements with commas between them: KEY, !KEY, KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B)" .Values.watchSelector) }}
{{- end }}
{{- end }}

{{- define "vpn-operator.checkOwnerTagKey" -}}
{{- $key := .Values.ownerTagKey }}
{{- if not (regexMatch "^[\\p{L}\\p{N}\\p{M} _.:=+@-]+$" $key) }}
{{- fail (printf "ownerTagKey: %q has other characters than a tag key; use letters, digits, spaces and _ . : = + - @" $key) }}
{{- end }}
{{- if or (hasPrefix " " $key) (hasSuffix " " $key) }}
{{- fail (printf "ownerTagKey: %q begins or ends with a space; remove the space" $key) }}
{{- end }}
{{- if hasPrefix "_sys_" $key }}
{{- fail (printf "ownerTagKey: %q begins with _sys_, as the cloud's own tags do; use another key" $key) }}
{{- end }}
{{- end }}

{{- define "vpn-operator.checkDuration" -}}
{{- $text := toString (get .root.Values .value) }}
{{- $fine := "seconds|second|secs|sec|s|minutes|minute|mins|min|m" }}
{{- $whole := "nanos|nsec|ns|months|month|M" }}
{{- $others := "usec|us|µs|millis|msec|ms|hours|hour|hrs|hr|h|days|day|d|weeks|week|wks|wk|w|years|year|yrs|yr|y" }}
{{- /* Fractions that are a whole number of nanoseconds, and of seconds from an hour on. */}}
{{- $part := printf "([0-9]+(\\.[0-9]{1,9})?\\s*(%s)|[0-9]+(\\.[0-9]{1,2})?\\s*(%s)|[0-9]+\\s*(%s))" $fine $others $whole }}
{{- if not (regexMatch (printf "^\\s*(0|(%s\\s*)+)\\s*$" $part) $text) }}
{{- fail (printf "%s: %s is not a duration; write a duration such as 30s, 5m or 1m30s" .value $text) }}
{{- end }}
{{- end }}

{{/* The seconds of a duration. */}}
{{- define "vpn-operator.seconds" -}}
{{- $seconds := dict "n" 0.000000001 "u" 0.000001 "µ" 0.000001 "ms" 0.001 "mi" 60.0 "s" 1.0 "h" 3600.0 "d" 86400.0 "w" 604800.0 "mo" 2630016.0 "y" 31557600.0 }}
{{- $sum := 0.0 }}
{{- range regexFindAll "[0-9.]+\\s*[A-Za-zµ]+" (toString .) -1 }}
{{- $unit := regexFind "[A-Za-zµ]+" . }}
{{- $start := "" }}
{{- if has $unit (list "m" "minutes" "minute" "min" "mins") }}
{{- $start = "mi" }}
{{- else if has $unit (list "ms" "msec" "millis") }}
{{- $start = "ms" }}
{{- else if has $unit (list "M" "month" "months") }}
{{- $start = "mo" }}
{{- else }}
{{- $start = regexFind "^." $unit }}
{{- end }}
{{- $sum = addf $sum (mulf (float64 (regexFind "[0-9.]+" .)) (get $seconds $start)) }}
{{- end }}
{{- $sum }}
{{- end }}

{{- define "vpn-operator.checkRange" -}}
{{- $text := get .root.Values .value }}
{{- $seconds := include "vpn-operator.seconds" $text | float64 }}
{{- if or (lt $seconds (include "vpn-operator.seconds" .least | float64)) (gt $seconds (include "vpn-operator.seconds" .most | float64)) }}
{{- fail (printf "%s: %s is not between %s and %s; set a duration in this range" .value $text .least .most) }}
{{- end }}
{{- end }}

{{- define "vpn-operator.checkDurations" -}}
{{- range list "resyncPeriod" "creationConfirmationPeriod" "requestTimeout" "leaseDuration" }}
{{- include "vpn-operator.checkDuration" (dict "root" $ "value" .) }}
{{- end }}
{{- $resync := toString .Values.resyncPeriod }}
{{- $resyncSeconds := include "vpn-operator.seconds" $resync | float64 }}
{{- if and (gt $resyncSeconds 0.0) (lt $resyncSeconds 1.0) (not (include "vpn-operator.inExtraArgs" (dict "root" . "flag" "--resync-period"))) }}
{{- fail (printf "resyncPeriod: %s is less than 1s; set at least 1s, or 0 to disable drift checks" $resync) }}
{{- end }}
{{- if not (include "vpn-operator.inExtraArgs" (dict "root" . "flag" "--creation-confirmation-period")) }}
{{- include "vpn-operator.checkRange" (dict "root" . "value" "creationConfirmationPeriod" "least" "1s" "most" "1h") }}
{{- end }}
{{- $ownTimeout := not (include "vpn-operator.inExtraArgs" (dict "root" . "flag" "--request-timeout")) }}
{{- if $ownTimeout }}
{{- include "vpn-operator.checkRange" (dict "root" . "value" "requestTimeout" "least" "100ms" "most" "5m") }}
{{- end }}
{{- $elects := and .Values.leaderElect (not (include "vpn-operator.inExtraArgs" (dict "root" . "flag" "--leader-elect"))) }}
{{- if and $elects (not (include "vpn-operator.inExtraArgs" (dict "root" . "flag" "--leader-elect-lease-duration"))) }}
{{- include "vpn-operator.checkRange" (dict "root" . "value" "leaseDuration" "least" "5s" "most" "1h") }}
{{- $lease := include "vpn-operator.seconds" .Values.leaseDuration | float64 }}
{{- if ne $lease (floor $lease) }}
{{- fail (printf "leaseDuration: %s is not a whole number of seconds, as a Lease needs; set whole seconds" .Values.leaseDuration) }}
{{- end }}
{{- $half := divf $lease 2.0 }}
{{- if and $ownTimeout (gt (include "vpn-operator.seconds" .Values.requestTimeout | float64) $half) }}
{{- fail (printf "requestTimeout: %s is more than half of leaseDuration (%s); set at most %vs, or a longer leaseDuration" .Values.requestTimeout .Values.leaseDuration $half) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A bare word that is not a level would be a target to EnvFilter, and silence everything else. */}}
{{- define "vpn-operator.checkLogLevel" -}}
{{- $level := "((?i:off|error|warn|info|debug|trace)|\\+?0*[0-5])" }}
{{- $letter := "[-:_\\p{L}\\p{N}\\p{M}]" }}
{{- $directive := printf "^(%s[^=\\[]*=%s?)?$|^\\s*%s\\s*$" $letter $level $level }}
{{- if contains "[" .Values.logLevel }}
{{- $span := printf "^\\s*(%s[^=\\[]*)?\\[[^\\]{]*(\\{[^}]+\\})?\\](=%s?)?\\s*$" $letter $level }}
{{- $directive = printf "%s|%s|^\\s*%s[^=\\[]*$" $directive $span $letter }}
{{- end }}
{{- range splitList "," .Values.logLevel }}
{{- if not (regexMatch $directive .) }}
{{- fail (printf "logLevel: %q is not a level; write a level such as info or debug, or TARGET=LEVEL pairs with commas" .) }}
{{- end }}
{{- end }}
{{- end }}
