{{- /* Pods of a StatefulSet carry the name and 11 more characters in a label of at most 63. */ -}}
{{- define "registry-prober.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "registry-prober.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "registry-prober.labels" -}}
{{ include "registry-prober.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "registry-prober.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "registry-prober.name" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{- define "registry-prober.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* The namespaces where the configuration looks for endpoints, each once, as a JSON list. */ -}}
{{- define "registry-prober.namespaces" -}}
{{- $found := list -}}
{{- range .Values.config.registries -}}
{{- with dig "discovery" "kubernetes" nil . -}}
{{- /* A kubeconfig leads to another cluster, with rights of its own. */ -}}
{{- if not .kubeconfig -}}
{{- $found = append $found (.namespace | default $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ $found | uniq | sortAlpha | toJson }}
{{- end }}

{{- define "registry-prober.kind" -}}
{{ ternary "StatefulSet" "Deployment" (or .Values.history.enabled .Values.sharded) }}
{{- end }}

{{- /* How the prober's own port is asked. */ -}}
{{- define "registry-prober.scheme" -}}
{{ ternary "https" "http" .Values.web.tls }}
{{- end }}

{{- define "registry-prober.config" -}}
{{ toYaml .Values.config }}
{{- end }}
