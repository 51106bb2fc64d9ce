{{/* The flags of `vpn-operator run`: those that differ from the program's own defaults are none the less given, so that a
rendered Deployment says what runs. */}}
{{- define "vpn-operator.args" -}}
- run
- --cloud={{ .Values.cloud }}
{{- if .Values.simulator.enabled }}
- --region=eu-west-101
- --vpn-endpoint=http://{{ include "vpn-operator.simulatorName" . }}.{{ .Release.Namespace }}.svc:8180
- --iam-endpoint=http://{{ include "vpn-operator.simulatorName" . }}.{{ .Release.Namespace }}.svc:8180
- --allow-insecure-endpoints
{{- else }}
{{- with .Values.region }}
- --region={{ . }}
{{- end }}
{{- with .Values.vpnEndpoint }}
- --vpn-endpoint={{ . }}
{{- end }}
{{- with .Values.iamEndpoint }}
- --iam-endpoint={{ . }}
{{- end }}
{{- if .Values.allowInsecureEndpoints }}
- --allow-insecure-endpoints
{{- end }}
{{- end }}
{{- with .Values.projectID }}
- --project-id={{ . }}
{{- end }}
{{- range .Values.allowedEndpoints }}
- --allowed-endpoint={{ . }}
{{- end }}
{{- range .Values.defaultCredentialsNamespaces }}
- --default-credentials-namespace={{ . }}
{{- end }}
{{- range .Values.watchNamespaces }}
- --watch-namespace={{ . }}
{{- end }}
{{- with .Values.watchSelector }}
- {{ printf "--watch-selector=%s" . | quote }}
{{- end }}
{{- with .Values.clusterName }}
- --cluster-name={{ . }}
{{- end }}
- --owner-tag-key={{ .Values.ownerTagKey }}
- --default-deletion-policy={{ .Values.defaultDeletionPolicy }}
- --mass-deletion-guard={{ .Values.massDeletionGuard }}
- --read-only={{ .Values.readOnly }}
{{- if .Values.ca.configMapName }}
- --ca-file=/etc/vpn-operator/ca/ca.crt
{{- end }}
- --resync-period={{ .Values.resyncPeriod }}
- --creation-confirmation-period={{ .Values.creationConfirmationPeriod }}
- --max-requests-per-second={{ .Values.maxRequestsPerSecond }}
- --request-timeout={{ .Values.requestTimeout }}
- --leader-elect={{ .Values.leaderElect }}
- --leader-elect-resource-name={{ include "vpn-operator.fullname" . }}
- --leader-elect-lease-duration={{ .Values.leaseDuration }}
- --bind-address=[::]:{{ .Values.port }}
- --log-format={{ .Values.logFormat }}
- {{ printf "--log-level=%s" .Values.logLevel | quote }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- define "vpn-operator.env" -}}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- $secret := .Values.credentials.secretName }}
{{- if .Values.simulator.enabled }}
{{- $secret = include "vpn-operator.simulatorName" . }}
{{- end }}
{{- with $secret }}
- name: HUAWEICLOUD_SDK_AK
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $.Values.credentials.accessKeyKey }}
- name: HUAWEICLOUD_SDK_SK
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $.Values.credentials.secretKeyKey }}
- name: HUAWEICLOUD_SDK_SECURITY_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $.Values.credentials.securityTokenKey }}
      optional: true
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
