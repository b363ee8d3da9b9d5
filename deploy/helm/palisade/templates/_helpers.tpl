{{- define "palisade.selector" -}}
app.kubernetes.io/name: palisade-nri
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "palisade.labels" -}}
{{ include "palisade.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: palisade
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "palisade.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- /* The options of palisade-nri. Values are joined to their options: one that begins with a dash is no option. */ -}}
{{- define "palisade.args" -}}
- --enter-host
{{- with .Values.install.dir }}
- {{ printf "--install=%s" . | quote }}
{{- end }}
- --log-level={{ .Values.log.level }}
- --log-format={{ .Values.log.format }}
{{- if .Values.uninstall }}
- uninstall
- --stay
{{- else }}
{{- include "palisade.serveArgs" . }}
{{- end }}
{{- end }}

{{- define "palisade.serveArgs" -}}
{{- range .Values.sockets }}
- {{ printf "--socket=%s" . | quote }}
{{- end }}
- {{ printf "--plugin-index=%s" .Values.pluginIndex | quote }}
- --default={{ ternary "on" "off" .Values.selection.default }}
{{- range .Values.selection.onLabels }}
- {{ printf "--on-label=%s" . | quote }}
{{- end }}
{{- range .Values.selection.offLabels }}
- {{ printf "--off-label=%s" . | quote }}
{{- end }}
{{- range .Values.selection.onNamespaces }}
- {{ printf "--on-namespace=%s" . | quote }}
{{- end }}
{{- range .Values.selection.offNamespaces | default (list "") }}
- {{ printf "--off-namespace=%s" . | quote }}
{{- end }}
{{- if .Values.strict }}
- --strict
{{- end }}
{{- if .Values.metrics.enabled }}
- {{ printf "--metrics=%s:%v" .Values.metrics.address .Values.metrics.port | quote }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}
