# The network, the security group and the replication group of a lab on failover: three zones'
# worth of nodes behind two subnets, reachable from the VPC only.

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}

# Everything else is said by the environment, as `tanist env` prints it.
provider "aws" {}

variable "engine" {
  type = string
}

variable "engine_version" {
  type = string
}

variable "nodes" {
  type = number
}

resource "aws_vpc" "practice" {
  cidr_block           = "10.0.0.0/16"
  enable_dns_hostnames = true
  tags                 = { Name = "practice-vpc-q1" }
}

resource "aws_subnet" "private" {
  for_each          = { us-east-1a = "10.0.11.0/24", us-east-1b = "10.0.12.0/24" }
  vpc_id            = aws_vpc.practice.id
  availability_zone = each.key
  cidr_block        = each.value
}

resource "aws_security_group" "redis" {
  name        = "practice-redis-multi-sg"
  description = "Redis Multi-AZ SG"
  vpc_id      = aws_vpc.practice.id

  ingress {
    description = "clients of the VPC"
    protocol    = "tcp"
    from_port   = 6379
    to_port     = 6379
    cidr_blocks = [aws_vpc.practice.cidr_block]
  }

  egress {
    protocol    = "-1"
    from_port   = 0
    to_port     = 0
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_elasticache_subnet_group" "multi" {
  name        = "practice-redis-subnet-group-multi"
  description = "Multi-AZ Redis"
  subnet_ids  = [for subnet in aws_subnet.private : subnet.id]
}

resource "aws_elasticache_replication_group" "multi" {
  replication_group_id       = "practice-redis-replication-multi"
  description                = "Redis replication with failover"
  engine                     = var.engine
  engine_version             = var.engine_version
  node_type                  = "cache.t3.micro"
  num_cache_clusters         = var.nodes
  automatic_failover_enabled = true
  multi_az_enabled           = true
  subnet_group_name          = aws_elasticache_subnet_group.multi.name
  security_group_ids         = [aws_security_group.redis.id]
  apply_immediately          = true
  tags                       = { course = "practice" }
}

output "primary" {
  value = aws_elasticache_replication_group.multi.primary_endpoint_address
}

output "members" {
  value = sort(tolist(aws_elasticache_replication_group.multi.member_clusters))
}
