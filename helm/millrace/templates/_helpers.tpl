{{- define "millrace.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "millrace.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "millrace.labels" -}}
{{ include "millrace.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "millrace.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "millrace.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "millrace.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Who answers: the api where it is on, else the processors. */}}
{{- define "millrace.answering" -}}
{{- if .Values.deployments.api.enabled -}}api{{- else -}}processor{{- end -}}
{{- end -}}

{{/* Whether an optional kind is rendered: [switch, group/version/kind, root]. */}}
{{- define "millrace.wanted" -}}
{{- $switch := toString (index . 0) -}}
{{- if or (eq $switch "true") (and (eq $switch "auto") ((index . 2).Capabilities.APIVersions.Has (index . 1))) -}}yes{{- end -}}
{{- end -}}

{{/* The configuration file: the user's keys, and over them what the chart knows better. Secrets stand in files. */}}
{{- define "millrace.config" -}}
{{- $properties := deepCopy .Values.kafka.properties -}}
{{- $tls := .Values.kafka.tls -}}
{{- $sasl := .Values.kafka.sasl -}}
{{- if or $tls.enabled $sasl.mechanism -}}
{{- $_ := set $properties "security.protocol" (printf "%s%s" (ternary "sasl_" "" (ne $sasl.mechanism "")) (ternary "ssl" "plaintext" $tls.enabled)) -}}
{{- end -}}
{{- if and $tls.enabled $tls.caSecret -}}
{{- $_ := set $properties "ssl.ca.location" (printf "/etc/millrace/kafka-ca/%s" $tls.caKey) -}}
{{- end -}}
{{- if and $tls.enabled $tls.clientSecret -}}
{{- $_ := set $properties "ssl.certificate.location" (printf "/etc/millrace/kafka-client/%s" $tls.clientCertificateKey) -}}
{{- $_ := set $properties "ssl.key.location" (printf "/etc/millrace/kafka-client/%s" $tls.clientPrivateKeyKey) -}}
{{- end -}}
{{- if $sasl.mechanism -}}
{{- $_ := set $properties "sasl.mechanism" $sasl.mechanism -}}
{{- $_ := set $properties "sasl.username" (default (printf "file:/etc/millrace/kafka-sasl/%s" $sasl.usernameKey) $sasl.username) -}}
{{- $_ := set $properties "sasl.password" (printf "file:/etc/millrace/kafka-sasl/%s" $sasl.passwordKey) -}}
{{- end -}}
{{- $kafka := dict "bootstrap" (required "kafka.bootstrap: name one or more brokers, host:port" .Values.kafka.bootstrap) "application_id" .Values.kafka.applicationId -}}
{{- if $properties -}}{{- $_ := set $kafka "properties" $properties -}}{{- end -}}
{{- $http := dict "api_address" "0.0.0.0:8080" "metrics_address" "0.0.0.0:9090" -}}
{{- $_ := required "auth.existingSecret: name the secret with the tokens of the API" .Values.auth.existingSecret -}}
{{- $_ := set $http "internal_token" (printf "file:/etc/millrace/%s/%s" (ternary "internal" "auth" (ne .Values.auth.internalTokenSecret "")) .Values.auth.internalTokenKey) -}}
{{- $tokens := dict -}}
{{- range $name, $token := .Values.auth.tokens -}}
{{- $role := required (printf "auth.tokens.%s.role: viewer, operator, admin or service" $name) $token.role -}}
{{- $_ := set $tokens $name (dict "role" $role "token" (printf "file:/etc/millrace/auth/%s" (default $name $token.key))) -}}
{{- end -}}
{{- if not $tokens -}}{{- fail "auth.tokens: name who may ask the API, such as `console: {role: operator}`" -}}{{- end -}}
{{- $own := dict "log" (dict "kind" "kafka") "kafka" $kafka "http" $http "auth" (dict "tokens" $tokens) "state" (dict "path" "/var/lib/millrace/state") "log_format" "json" -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) $own) -}}
{{- end -}}

{{/* Changes with everything a running process reads once: pods are replaced when it does. */}}
{{- define "millrace.configHash" -}}
{{- include "millrace.config" . | sha256sum | trunc 16 -}}
{{- end -}}
