output "airflow_env" {
  description = "The addresses, as variables of Airflow's components: terraform output -raw airflow_env >> airflow.env"
  value       = <<-EOT
    MY_FEAST_ENVIRONMENT=azure
    MY_FEAST_CLOUD=${local.lake_root}
    MY_FEAST_REGISTRY=${azurerm_storage_account.registry.primary_blob_endpoint}${azurerm_storage_container.registry.name}/registry.db
    MY_FEAST_REDIS=${azurerm_managed_redis.online.hostname}:10000,ssl=true
    MY_FEAST_KAFKA=${azurerm_eventhub_namespace.this.name}.servicebus.windows.net:9093
    MY_FEAST_DATABRICKS_WHEELS=${databricks_volume.wheels.volume_path}
    MY_FEAST_DATABRICKS_POLICY=${databricks_cluster_policy.jobs.id}
    MY_FEAST_DATABRICKS_NODE=${var.node_type}
    AIRFLOW__SECRETS__BACKEND_KWARGS={"connections_prefix": "airflow-connections", "variables_prefix": "airflow-variables", "config_prefix": null, "vault_url": "${azurerm_key_vault.this.vault_uri}", "managed_identity_client_id": "${azurerm_user_assigned_identity.this["logs"].client_id}", "workload_identity_tenant_id": "${data.azurerm_client_config.current.tenant_id}"}
  EOT
}

output "identity_ids" {
  description = "To attach: Airflow's machines get all but serving and producer."
  value       = { for name, each in azurerm_user_assigned_identity.this : name => each.id }
}

output "workspace_url" {
  description = "For the bundle: databricks bundle deploy --target azure, with DATABRICKS_HOST set to this."
  value       = "https://${azurerm_databricks_workspace.this.workspace_url}"
}
