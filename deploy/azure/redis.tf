# Azure Managed Redis: TLS on port 10000, logins by Entra only.
resource "azurerm_managed_redis" "online" {
  name                      = "${local.unique}-online"
  resource_group_name       = azurerm_resource_group.this.name
  location                  = azurerm_resource_group.this.location
  sku_name                  = var.redis_sku
  high_availability_enabled = var.redis_high_availability
  tags                      = local.tags

  default_database {
    access_keys_authentication_enabled = false
    client_protocol                    = "Encrypted"
    # One shard, up to 25 GB: the engine's fence is a transaction over a view's claim and the keys that it writes, which
    # a sharded data base refuses (CROSSSLOT), whichever clustering policy it has.
    clustering_policy = "NoCluster"
    # An online store that evicts would lose features without a word; the engine refuses `allkeys-*`.
    eviction_policy = "NoEviction"
    # A restart then finds its keys again instead of being a rebuild.
    persistence_append_only_file_backup_frequency = "1s"
  }
}

# Who may log in. Managed Redis has one built-in policy, `default`, which may do everything in the data base: readers and
# writers differ only by being listed, so nobody is listed who need not be.
resource "azurerm_resource_group_template_deployment" "redis_logins" {
  for_each            = toset(["online", "serving"])
  name                = "redis-login-${each.key}"
  resource_group_name = azurerm_resource_group.this.name
  deployment_mode     = "Incremental"

  template_content = jsonencode({
    "$schema"      = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    contentVersion = "1.0.0.0"
    resources = [{
      type       = "Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments"
      apiVersion = "2025-04-01"
      name       = "${azurerm_managed_redis.online.name}/default/${each.key}"
      properties = {
        accessPolicyName = "default"
        user             = { objectId = azurerm_user_assigned_identity.this[each.key].principal_id }
      }
    }]
  })
}
