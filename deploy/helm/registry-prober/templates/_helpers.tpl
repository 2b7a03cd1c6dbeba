{{- /* Pods of a StatefulSet carry the name and 11 more characters in a label of at most 63. */ -}}
{{- define "registry-prober.name" -}}
{{- $chart := .Values.nameOverride | default .Chart.Name -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) -}}
{{ .Values.fullnameOverride | default $name | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- /* The rules look for the job of this name, whatever nameOverride says. */ -}}
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

{{- /* With labels of the values, (list . LABELS). A key that stands twice is no valid YAML. */ -}}
{{- define "registry-prober.labelsWith" -}}
{{ merge (dict) (index . 1) (include "registry-prober.labels" (index . 0) | fromYaml) | toYaml }}
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

{{- /* Each replica needs a volume of its own for its history, and shards need a number. */ -}}
{{- define "registry-prober.kind" -}}
{{ ternary "StatefulSet" "Deployment" (or .Values.sharded (and .Values.history.enabled (gt (int .Values.replicas) 1))) }}
{{- end }}

{{- define "registry-prober.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .Values.history.storageClass }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .Values.history.size | quote }}
{{- end }}

{{- /* The program in one of the pods, as alerts show it. */ -}}
{{- define "registry-prober.exec" -}}
kubectl -n {{ .Release.Namespace }} exec {{ include "registry-prober.kind" . | lower }}/{{ include "registry-prober.name" . }} -- /registry-prober
{{- end }}

{{- /* The prober's own port, and what its own commands need to ask it. */ -}}
{{- define "registry-prober.url" -}}
{{ include "registry-prober.scheme" . }}://127.0.0.1:9912
{{- end }}
{{- define "registry-prober.client" -}}
{{- with .Values.web.clientCert }} --cert-file={{ . }} --key-file={{ $.Values.web.clientKey }}{{ end -}}
{{- end }}

{{- /* How the prober's own port is asked. */ -}}
{{- define "registry-prober.scheme" -}}
{{ ternary "https" "http" .Values.web.tls }}
{{- end }}

{{- define "registry-prober.config" -}}
{{ toYaml .Values.config }}
{{- end }}
