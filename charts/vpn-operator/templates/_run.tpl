{{/* The flags of `vpn-operator run`. Defaults are rendered too, so that the Deployment shows all settings. `extraArgs` come
last: of repeated flags the last one counts. */}}
{{- define "vpn-operator.args" -}}
- run
- {{ printf "--cloud=%s" .Values.cloud | quote }}
{{- if .Values.simulator.enabled }}
{{- $simulator := printf "http://%s.%s.svc:8180" (include "vpn-operator.simulatorName" .) (include "vpn-operator.namespace" .) }}
- --region=eu-west-101
- {{ printf "--vpn-endpoint=%s" $simulator | quote }}
- {{ printf "--iam-endpoint=%s" $simulator | quote }}
- --allow-insecure-endpoints
{{- else }}
{{- with .Values.region }}
- {{ printf "--region=%s" . | quote }}
{{- end }}
{{- with .Values.vpnEndpoint }}
- {{ printf "--vpn-endpoint=%s" . | quote }}
{{- end }}
{{- with .Values.iamEndpoint }}
- {{ printf "--iam-endpoint=%s" . | quote }}
{{- end }}
{{- if .Values.allowInsecureEndpoints }}
- --allow-insecure-endpoints
{{- end }}
{{- end }}
{{- with .Values.projectID }}
- {{ printf "--project-id=%s" . | quote }}
{{- end }}
{{- range .Values.allowedEndpoints }}
- {{ printf "--allowed-endpoint=%s" . | quote }}
{{- end }}
{{- range .Values.endpointAliases }}
- {{ printf "--endpoint-alias=%s" . | quote }}
{{- end }}
{{- range .Values.defaultCredentialsNamespaces }}
- {{ printf "--default-credentials-namespace=%s" . | quote }}
{{- end }}
{{- range .Values.watchNamespaces }}
- {{ printf "--watch-namespace=%s" . | quote }}
{{- end }}
{{- with .Values.watchSelector }}
- {{ printf "--watch-selector=%s" . | quote }}
{{- end }}
{{- with .Values.clusterName }}
- {{ printf "--cluster-name=%s" . | quote }}
{{- end }}
- {{ printf "--owner-tag-key=%s" .Values.ownerTagKey | quote }}
- {{ printf "--default-deletion-policy=%s" .Values.defaultDeletionPolicy | quote }}
- {{ printf "--mass-deletion-guard=%t" .Values.massDeletionGuard | quote }}
- {{ printf "--read-only=%t" .Values.readOnly | quote }}
{{- if .Values.ca.configMapName }}
- --ca-file=/etc/vpn-operator/ca/ca.crt
{{- end }}
- {{ printf "--resync-period=%s" (toString .Values.resyncPeriod) | quote }}
- {{ printf "--creation-confirmation-period=%s" .Values.creationConfirmationPeriod | quote }}
- {{ printf "--max-requests-per-second=%d" (int64 .Values.maxRequestsPerSecond) | quote }}
- {{ printf "--request-timeout=%s" .Values.requestTimeout | quote }}
- {{ printf "--leader-elect=%t" .Values.leaderElect | quote }}
- {{ printf "--leader-elect-resource-name=%s" (include "vpn-operator.fullname" .) | quote }}
- {{ printf "--leader-elect-lease-duration=%s" .Values.leaseDuration | quote }}
- {{ printf "--bind-address=[::]:%d" (int64 .Values.port) | quote }}
- {{ printf "--log-format=%s" .Values.logFormat | quote }}
- {{ printf "--log-level=%s" .Values.logLevel | quote }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{/* A variable of `extraEnv` replaces the chart's own: server-side apply rejects duplicate names. */}}
{{- define "vpn-operator.env" -}}
{{- $given := list }}
{{- range .Values.extraEnv }}
{{- $given = append $given .name }}
{{- end }}
{{- range $variable := include "vpn-operator.ownEnv" . | fromYamlArray }}
{{- if not (has $variable.name $given) }}
{{ list $variable | toYaml }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "vpn-operator.ownEnv" -}}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- if include "vpn-operator.credentialsSecret" . }}
- name: HUAWEICLOUD_SDK_CREDENTIALS_FILE
  value: /etc/vpn-operator/credentials
{{- end }}
{{- end }}

{{/* The Secret of the default credentials, if set. */}}
{{- define "vpn-operator.credentialsSecret" -}}
{{- if .Values.simulator.enabled }}
{{- include "vpn-operator.simulatorName" . }}
{{- else }}
{{- .Values.credentials.secretName }}
{{- end }}
{{- end }}

{{/* Files, which the kubelet updates while the pod runs. The pod waits for the required keys. */}}
{{- define "vpn-operator.credentialsVolume" -}}
- name: credentials
  projected:
    sources:
      - secret:
          name: {{ include "vpn-operator.credentialsSecret" . | quote }}
          items:
            - key: {{ .Values.credentials.accessKeyKey | quote }}
              path: accessKey
            - key: {{ .Values.credentials.secretKeyKey | quote }}
              path: secretKey
      - secret:
          name: {{ include "vpn-operator.credentialsSecret" . | quote }}
          optional: true
          items:
            - key: {{ .Values.credentials.securityTokenKey | quote }}
              path: securityToken
{{- end }}
