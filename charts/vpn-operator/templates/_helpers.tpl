{{/* The chart's name. */}}
{{- define "vpn-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of the release's objects and of its Lease. */}}
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

{{/* The namespace of the release's objects. */}}
{{- define "vpn-operator.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{/* The name of cluster-wide objects. Hashed, since the parts are ambiguous: release b in namespace c-a, release a-b in c. */}}
{{- define "vpn-operator.clusterWideName" -}}
{{- $namespace := include "vpn-operator.namespace" . }}
{{- $name := include "vpn-operator.fullname" . }}
{{- $hash := printf "%s/%s/%s" $namespace .Release.Name $name | sha256sum | trunc 8 }}
{{- printf "%s-%s" (printf "%s-%s" $namespace $name | trunc 54 | trimSuffix "-") $hash }}
{{- end }}

{{- define "vpn-operator.selectorLabels" -}}
{{- include "vpn-operator.selectorLabelsOf" (dict "root" . "component" "operator") }}
{{- end }}

{{- define "vpn-operator.simulatorSelectorLabels" -}}
{{- include "vpn-operator.selectorLabelsOf" (dict "root" . "component" "simulator") }}
{{- end }}

{{- define "vpn-operator.testSelectorLabels" -}}
{{- include "vpn-operator.selectorLabelsOf" (dict "root" . "component" "test") }}
{{- end }}

{{- define "vpn-operator.selectorLabelsOf" -}}
app.kubernetes.io/component: {{ .component | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/name: {{ include "vpn-operator.name" .root | quote }}
{{- end }}

{{/* Labels of every object, without the component. */}}
{{- define "vpn-operator.labels" -}}
{{- include "vpn-operator.labelsWith" (dict "root" .) }}
{{- end }}

{{/* The same with `component` and `more` labels. Each key is rendered once: the chart's own labels win, then `more`. */}}
{{- define "vpn-operator.labelsWith" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/name" (include "vpn-operator.name" .root)
  "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/version" (replace "+" "_" .root.Chart.AppVersion)
  "app.kubernetes.io/managed-by" .root.Release.Service }}
{{- with .component }}
{{- $_ := set $own "app.kubernetes.io/component" . }}
{{- end }}
{{- merge $own (deepCopy (default dict .more)) (deepCopy (default dict .root.Values.commonLabels)) | toYaml }}
{{- end }}

{{/* Labels of a pod, in order of precedence: selector labels, `more`, commonLabels. */}}
{{- define "vpn-operator.podLabels" -}}
{{- $own := include "vpn-operator.selectorLabelsOf" . | fromYaml }}
{{- merge $own (deepCopy (default dict .more)) (deepCopy (default dict .root.Values.commonLabels)) | toYaml }}
{{- end }}

{{- define "vpn-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "vpn-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "vpn-operator.image" -}}
{{- $repository := required "image.repository is empty: set image.repository, see docs/contributing/releasing.md" .Values.image.repository }}
{{- with default .Values.image.registry (.Values.global).imageRegistry }}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository }}
{{- end }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* Pull secrets of the parent chart and of this one; a parent may give plain names. */}}
{{- define "vpn-operator.imagePullSecrets" -}}
{{- $secrets := list }}
{{- range concat (default list (.Values.global).imagePullSecrets) (default list .Values.imagePullSecrets) }}
{{- $secrets = append $secrets (ternary (dict "name" .) . (kindIs "string" .)) }}
{{- end }}
{{- with uniq $secrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* OpenShift assigns UIDs and GIDs per namespace; its SCC restricted-v2 rejects all others. */}}
{{- define "vpn-operator.podSecurityContext" -}}
{{- $context := default dict .Values.podSecurityContext }}
{{- if .Values.openshift.enabled }}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" }}
{{- end }}
{{- toYaml $context }}
{{- end }}

{{- define "vpn-operator.simulatorName" -}}
{{- printf "%s-simulator" (include "vpn-operator.fullname" .) }}
{{- end }}

{{- define "vpn-operator.testName" -}}
{{- printf "%s-test" (include "vpn-operator.fullname" .) }}
{{- end }}
