{{/* The chart's name. */}}
{{- define "vpn-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of the release's objects, and of its Lease. */}}
{{- define "vpn-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := include "vpn-operator.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vpn-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "vpn-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "vpn-operator.simulatorSelectorLabels" -}}
app.kubernetes.io/name: {{ include "vpn-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: simulator
{{- end }}

{{/* Labels of every object, without the component. */}}
{{- define "vpn-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "vpn-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "vpn-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "vpn-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "vpn-operator.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "vpn-operator.simulatorName" -}}
{{- printf "%s-simulator" (include "vpn-operator.fullname" .) }}
{{- end }}

{{/* What the operator does with the two kinds, Secrets and Events: in a namespace or in all. */}}
{{- define "vpn-operator.watchedRules" -}}
- apiGroups: [vpn.huaweicloud.com]
  resources: [customergateways, vpnusers]
  # patch: the finalizer
  verbs: [list, watch, patch]
- apiGroups: [vpn.huaweicloud.com]
  resources: [customergateways]
  # Whether the object that a gateway's tag names is still there.
  verbs: [get]
- apiGroups: [vpn.huaweicloud.com]
  resources: [customergateways/status, vpnusers/status]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  # patch: an Event that repeats itself
  verbs: [create, patch]
- apiGroups: [""]
  resources: [secrets]
  # list, watch: their metadata only, to see that one was changed
  verbs: [get, list, watch]
{{- end }}
