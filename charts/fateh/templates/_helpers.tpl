{{- define "fateh.labels" -}}
app.kubernetes.io/name: fateh
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "fateh.monitoring.labels" -}}
{{ include "fateh.labels" . }}
{{- with .Values.monitoring.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The Gateway that routes of the chart are bound to, as parentRefs. */}}
{{- define "fateh.gateway" -}}
{{- with .Values.routing.gateway -}}
- namespace: {{ .namespace }}
  name: {{ .name }}
  {{- with .listener }}
  sectionName: {{ . }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* What a program is told about traces. */}}
{{- define "fateh.tracing" -}}
{{- with .Values.tracing.endpoint -}}
- --otlp-endpoint={{ . }}
- --trace-ratio={{ $.Values.tracing.ratio }}
{{- end -}}
{{- end -}}
